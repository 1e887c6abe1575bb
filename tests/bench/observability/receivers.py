"""The parent's side of the clients of the metrics."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from types import TracebackType
from typing import Self

from tests.bench.metrics_clients import Received
from tests.bench.servers import ROOT, BenchError

_START_SECONDS, _RESPONSE_SECONDS = 60.0, 10.0


class Receivers:
    """The process of the clients; the end of the `with` block ends it.

    `idle` gives it the lowest priority: its CPU would be another machine's.
    """

    def __init__(self, port: int, count: int, kind: str, *, idle: bool = False) -> None:
        self._argv = [sys.executable, "-m", "tests.bench.metrics_clients", str(port), str(count), kind, "19" if idle else "0"]

    def __enter__(self) -> Self:
        self._popen = subprocess.Popen(self._argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._response(_START_SECONDS)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._popen.kill()
        self._popen.communicate()

    def settle(self) -> Received:
        """Wait for the end of a tick, and return the figures since the last call."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(b"settle\n")
        self._popen.stdin.flush()
        return self._response(_RESPONSE_SECONDS)

    def _response(self, seconds: float) -> Received:
        assert self._popen.stdout is not None
        ready, _, _ = select.select([self._popen.stdout], [], [], seconds)
        line = self._popen.stdout.readline() if ready else b""
        if not line:
            raise BenchError("no response from the clients of the metrics")
        return Received(**json.loads(line))
