"""The performance log: lines about the time since the last ones, from counters of the metrics.

Summaries are INFO and appear every `PERFORMANCE_LOG_SECONDS`. Each stored batch is one DEBUG line.
"""

from __future__ import annotations

import logging
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Protocol, TypeAlias

from config.exposition import Bucketed

NAME = "performance"
BATCH, RATE, DATABASE, MEMORY = "Batch processed", "Message rate", "Database performance", "Memory usage"

log = logging.getLogger(__name__)
performance = logging.getLogger(NAME)

Line: TypeAlias = tuple[str, Mapping[str, str | float]]  # message, fields
# Called with the seconds since the last call, by one thread.
Lines: TypeAlias = Callable[[float], Iterable[Line]]


class Measured(Bucketed, Protocol):
    """A histogram with its largest value, such as `db.measures.Buckets`."""

    def take_max(self) -> float:
        """The largest value since the last call; 0 without values."""


class Interval:
    """The values of a histogram between two calls of `take`."""

    def __init__(self, buckets: Measured) -> None:
        """The first interval has all values so far."""
        self._buckets = buckets
        self._counts, self._sum = [0] * (len(buckets.bounds) + 1), 0.0
        self.count = 0  # of values
        self.mean = 0.0  # 0 without values, as the other figures
        self.largest = 0.0
        self._found: Sequence[int] = ()

    def take(self) -> Interval:
        """End an interval and begin the next one; return this object with the figures."""
        counts, total = self._buckets.read()
        self._found = [now - before for now, before in zip(counts, self._counts, strict=True)]
        self.count = sum(self._found)
        self.mean = (total - self._sum) / self.count if self.count else 0.0
        self.largest = self._buckets.take_max()
        self._counts, self._sum = counts, total
        return self

    def quantile(self, share: float) -> float:
        """A quantile of the last interval: linear within a bucket, at most the largest value."""
        if not self.count:
            return 0.0
        reached = list(accumulate(self._found))
        place = bisect_left(reached, share * self.count)
        bounds = (0.0, *self._buckets.bounds, self.largest)
        lower, upper = bounds[place], max(bounds[place], min(bounds[place + 1], self.largest))
        return lower + (upper - lower) * (share * self.count - (reached[place] - self._found[place])) / self._found[place]


class Increase:
    """The increase of a counter between two calls."""

    def __init__(self, read: Callable[[], float]) -> None:
        """The first increase begins at 0."""
        self._read = read
        self._last = 0.0

    def take(self) -> float:
        """Return the increase since the last call."""
        before, self._last = self._last, self._read()
        return self._last - before


class PerformanceLog:
    """Writes the summary lines of this process; `run` is its loop. 0 `seconds`: it writes none."""

    def __init__(self, seconds: float, *lines: Lines, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._lines = lines
        self._monotonic = monotonic
        self._written = monotonic()

    def run(self, stop: threading.Event) -> None:
        """Write the lines every `seconds` until `stop` is set."""
        while not stop.wait(self._seconds or None):
            try:
                self.write()
            except Exception:
                log.exception("performance lines were not written")

    def write(self) -> None:
        """Write the lines about the time since the last call."""
        before, self._written = self._written, self._monotonic()
        seconds = max(self._written - before, 1e-6)
        for lines in self._lines:
            for message, fields in lines(seconds):
                performance.info(message, extra=dict(fields))


def milliseconds(seconds: float) -> float:
    """Return milliseconds with three decimals."""
    return round(seconds * 1000, 3)
