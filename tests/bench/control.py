"""The load generator as its parent sees it: commands out, answers in, and a count that can be read at any moment."""

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
from types import TracebackType
from typing import Any, Self

from tests.bench.client import Plan
from tests.bench.servers import ROOT, BenchError

_ANSWER_SECONDS = 30.0
_COUNT = struct.Struct("Q")


class LoadGenerator:
    """The process; leaving the `with` block ends it."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            file = stack.enter_context(tempfile.NamedTemporaryFile())
            file.truncate(_COUNT.size)
            self._progress = stack.enter_context(mmap.mmap(file.fileno(), _COUNT.size))
            self._popen = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.bench.load", file.name], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            )
            stack.callback(self._popen.kill)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    @property
    def received(self) -> int:
        """Prices received in this phase so far."""
        return int(_COUNT.unpack_from(self._progress, 0)[0])

    def connect(self, plans: Sequence[Plan], seconds: float = 60.0) -> float:
        """Connect clients, as far as their plans say; how long it took. Raises `BenchError` unless all are there."""
        said = self.ask("connect", seconds + _ANSWER_SECONDS, plans=[asdict(plan) for plan in plans], seconds=seconds)
        if said["problems"]:
            raise BenchError(f"cannot connect: {said['problems'][0]}")
        if said["connected"] < len(plans):
            raise BenchError(f"only {said['connected']} of {len(plans)} clients connected in {seconds:.0f} s")
        return float(said["seconds"])

    def wait(self, wanted: int, seconds: float, still: float = 5.0) -> bool:
        """Until that many prices of this phase have been received; False after `seconds`, or when nothing comes for `still` seconds."""
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

    def ask(self, command: str, timeout: float = _ANSWER_SECONDS, **arguments: Any) -> dict[str, Any]:
        """Send a command and return its answer."""
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._popen.stdin.write(json.dumps({"do": command, **arguments}).encode() + b"\n")
        self._popen.stdin.flush()
        ready, _, _ = select.select([self._popen.stdout], [], [], timeout)
        line = self._popen.stdout.readline() if ready else b""
        if not line:
            raise BenchError(f"the load generator does not answer {command!r}")
        answer: dict[str, Any] = json.loads(line)
        return answer
