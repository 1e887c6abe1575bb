"""Lags in seconds: of messages on their way to the sockets, and of the loop itself."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable

from config.metrics import LAG_BUCKETS

TIMER_SECONDS = 0.1


class Lags:
    """A histogram of one loop: `db.measures.Buckets` without its lock, which costs more here.

    A value that equals a bound counts in the bucket of that bound.
    """

    __slots__ = ("_counts", "_largest", "_sum", "bounds")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """`bounds` are ascending and without infinity."""
        self.bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._largest = 0.0

    def observe(self, seconds: float) -> None:
        """Count one value. A negative one, after a step of a clock, counts as 0."""
        if seconds < 0.0:
            seconds = 0.0
        elif seconds > self._largest:
            self._largest = seconds
        self._counts[bisect_left(self.bounds, seconds)] += 1
        self._sum += seconds

    def read(self) -> tuple[list[int], float]:
        """Return the counts per bucket, not cumulative, the last one above all bounds; the sum."""
        return list(self._counts), self._sum

    def take_max(self) -> float:
        """Return the largest value since the last call; 0 without values."""
        found, self._largest = self._largest, 0.0
        return found


class LoopLag:
    """Measures by how much a timer of the event loop is late: a callback that blocks delays it.

    `monotonic` is a clock in seconds; `sleep(seconds)` lets other greenlets run.
    """

    def __init__(self, monotonic: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self.lags = Lags(LAG_BUCKETS)
        self._monotonic = monotonic
        self._sleep = sleep

    def run(self, stop: threading.Event) -> None:
        """Measure until `stop` is set."""
        while not stop.is_set():
            due = self._monotonic() + TIMER_SECONDS
            self._sleep(TIMER_SECONDS)
            self.lags.observe(self._monotonic() - due)
