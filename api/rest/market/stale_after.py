"""Seconds without a price after which an instrument counts as stale: eight usual intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from flask import Flask, current_app

from api.rest.market.kept import Kept
from db.market import reception_intervals
from db.replicas import Reads
from db.timestamps import format_time, time_before

KEPT_SECONDS = 60.0
FEWEST_INTERVALS = 8  # below them the source decides
_INTERVALS = 8  # usual ones without a price
_SHORTEST, _LONGEST = 15, 3600
_QUIET = 120  # of sources whose pace is unknown
_MICROSECONDS = 1_000_000
_RECENT = timedelta(days=31)  # prices that are older say nothing about the present pace
_AHEAD = timedelta(days=1)
_NAME = "tickwire.stale_after"


def stale_after(count: int, median: float | None, source: str, ingestion_interval: float) -> int:
    """Return the seconds for `count` intervals between receptions, with this median in µs.

    `source` is the name of the instrument's source: `replay:FILE` of a recording.
    `ingestion_interval` is in seconds.
    """
    if count >= FEWEST_INTERVALS and median is not None:
        return min(_LONGEST, max(_SHORTEST, math.ceil(_INTERVALS * median / _MICROSECONDS)))
    kind = source.partition(":")[0]
    if kind in ("synthetic", "replay"):
        return max(_SHORTEST, math.ceil(_INTERVALS * ingestion_interval))
    return _SHORTEST if kind == "binance" else _QUIET


class StaleAfter:
    """The values of all instruments, read in one statement and kept for `KEPT_SECONDS`."""

    def __init__(self, reads: Reads, clock: Callable[[], datetime], ingestion_interval: float, monotonic: Callable[[], float]) -> None:
        self._reads = reads
        self._clock = clock
        self._interval = ingestion_interval
        self._kept = Kept(KEPT_SECONDS, self._read, monotonic)

    def __call__(self, fed_by: Mapping[str, str]) -> Callable[[str, str], int]:
        """Return a function of (instrument, its source in production).

        `fed_by` has the source that feeds an instrument now. Raises `StoreError`.
        """
        steps = self._kept.get()

        def of(symbol: str, source: str) -> int:
            count, median = steps.get(symbol, (0, None))
            return stale_after(count, median, fed_by.get(symbol, source), self._interval)

        return of

    def _read(self) -> dict[str, tuple[int, float | None]]:
        now = self._clock()
        start, end = format_time(time_before(now, _RECENT)), format_time(now + _AHEAD)
        return self._reads.read(lambda cursor: reception_intervals(cursor, start, end))


def attach(app: Flask, reads: Reads, clock: Callable[[], datetime], ingestion_interval: float, monotonic: Callable[[], float]) -> None:
    """Give the app its values."""
    app.extensions[_NAME] = StaleAfter(reads, clock, ingestion_interval, monotonic)


def thresholds(fed_by: Mapping[str, str]) -> Callable[[str, str], int]:
    """Return the function of `StaleAfter` for the app that serves the current request."""
    values: StaleAfter = current_app.extensions[_NAME]
    return values(fed_by)
