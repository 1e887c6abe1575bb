"""The parent's side of the load generator: commands, responses and a shared counter."""

from __future__ import annotations

import json
import mmap
import select
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.bench.client import Plan
from tests.bench.compiler import NoCompiler, compiled
from tests.bench.servers import ROOT, BenchError

_RESPONSE_SECONDS = 30.0
_COUNT = struct.Struct("Q")


def library() -> Path | None:
    """Return the reader in C, or None without a compiler."""
    try:
        return compiled("reader.c", shared=True)
    except NoCompiler:
        return None


class LoadGenerator:
    """The process of the load generator; the end of the `with` block ends it.

    `idle` gives it the lowest priority: its CPU would be another machine's. With `native`, C reads
    the prices if there is a compiler; the clients then read prices alone. `prefix` is a command
    that runs the process.
    """

    def __init__(self, *, idle: bool = False, native: bool = False, prefix: tuple[str, ...] = ()) -> None:
        self._prefix = (*prefix, *(("nice", "-n", "19") if idle else ()))
        self._library = library() if native else None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            file = stack.enter_context(tempfile.NamedTemporaryFile())
            file.truncate(_COUNT.size)
            self._progress = stack.enter_context(mmap.mmap(file.fileno(), _COUNT.size))
            self._popen = stack.enter_context(
                subprocess.Popen(
                    [*self._prefix, sys.executable, "-m", "tests.bench.load", file.name, *([str(self._library)] if self._library else [])],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            )
            stack.callback(self._popen.kill)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    @property
    def received(self) -> int:
        """The prices received in this phase so far."""
        return int(_COUNT.unpack_from(self._progress, 0)[0])

    def connect(self, plans: Sequence[Plan], seconds: float = 60.0, **options: int) -> float:
        """Connect clients by their plans; return the seconds it took.

        The option `together` limits the connections that are made at the same time.

        Raises `BenchError` if a client fails to connect.
        """
        response = self.command("connect", seconds + _RESPONSE_SECONDS, plans=[asdict(plan) for plan in plans], seconds=seconds, **options)
        if response["problems"]:
            raise BenchError(f"cannot connect: {response['problems'][0]}")
        if response["connected"] < len(plans):
            raise BenchError(f"only {response['connected']} of {len(plans)} clients connected in {seconds:.0f} s")
        return float(response["seconds"])

    def wait(self, wanted: int, seconds: float, still: float = 5.0) -> bool:
        """Wait until this phase has received `wanted` prices.

        Returns False after `seconds`, or if none arrives within `still` seconds.
        """
        end = time.monotonic() + seconds
        moved, seen = time.monotonic(), self.received
        while seen < wanted:
            time.sleep(0.005)
            now, last, seen = time.monotonic(), seen, self.received
            if seen != last:
                moved = now
            elif now > end or now - moved > still:
                return False
        return True

    def command(self, name: str, timeout: float = _RESPONSE_SECONDS, **arguments: Any) -> dict[str, Any]:
        """Send a command and return its response."""
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._popen.stdin.write(json.dumps({"do": name, **arguments}).encode() + b"\n")
        self._popen.stdin.flush()
        ready, _, _ = select.select([self._popen.stdout], [], [], timeout)
        line = self._popen.stdout.readline() if ready else b""
        if not line:
            raise BenchError(f"no response from the load generator to {name!r}")
        response: dict[str, Any] = json.loads(line)
        return response
