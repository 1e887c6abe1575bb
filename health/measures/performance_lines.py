"""The lines of the performance log that every process has: its memory, its database."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable

import psutil

from config.loops import keep_in_thread
from config.performance_log import DATABASE, MEMORY, Increase, Interval, Line, Lines, PerformanceLog, milliseconds
from config.settings import Settings
from db.pool_measures import PoolMeasures
from db.postgres import Store

LOOP = "performance-log"
_PEAK_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes


def performance_log(settings: Settings, store: Store, *lines: Lines) -> PerformanceLog:
    """Return the performance log of this process. Call it after a fork."""
    return PerformanceLog(settings.performance_log_seconds, *lines, DatabaseLine(store.measures), memory_line)


def start(settings: Settings, store: Store, *lines: Lines) -> None:
    """Write the performance log in a thread until the process ends."""
    keep_in_thread(LOOP, performance_log(settings, store, *lines).run)


class DatabaseLine:
    """The use of the store by this process."""

    def __init__(self, measures: PoolMeasures) -> None:
        self._measures = measures
        self._transactions = Interval(measures.transactions)
        self._waits = Interval(measures.waits)
        self._errors = Increase(lambda: sum(measures.errors.values().values()))

    def __call__(self, _seconds: float) -> Iterable[Line]:
        """Return the line; times are in ms."""
        took, waited = self._transactions.take(), self._waits.take()
        fields = {
            "transactions": took.count,
            "meanTime": milliseconds(took.mean),
            "maxTime": milliseconds(took.largest),
            "errors": int(self._errors.take()),
            "poolInUse": self._measures.in_use,
            "poolWait": milliseconds(waited.mean),
        }
        return [(DATABASE, fields)]


def memory_line(_seconds: float) -> Iterable[Line]:
    """Return the memory of this process, now and at most, in bytes."""
    rss = psutil.Process().memory_info().rss
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _PEAK_UNIT  # not always up to date
    return [(MEMORY, {"rss": rss, "peakRss": max(rss, peak)})]
