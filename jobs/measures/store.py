"""Figures that only the store has: open gaps, last successes of jobs, TimescaleDB's jobs."""

from __future__ import annotations

import time
from collections.abc import Callable

from db.gaps import count_open
from db.job_runs import last_successes
from db.postgres import Cursor
from db.timescaledb import failed_background_jobs
from jobs.measures.counts import TaskCounts

READ_SECONDS = 15.0  # between two readings; Prometheus reads as often


class StoreFigures:
    """The last figures that were read; they stay while the store is unavailable."""

    def __init__(self, tasks: TaskCounts, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.gaps_open: dict[str, int] = {}  # source -> number; sources without any are left out
        self.failed_background_jobs: int | None = None  # None without TimescaleDB
        self._tasks = tasks
        self._monotonic = monotonic
        self._read_at = float("-inf")

    @property
    def due(self) -> bool:
        """True if the figures are to be read again."""
        return self._monotonic() - self._read_at >= READ_SECONDS

    def read(self, cursor: Cursor) -> None:
        """Read all figures. Runs by hand, in other processes, count as successes too."""
        self.gaps_open = count_open(cursor)
        self.failed_background_jobs = failed_background_jobs(cursor)
        self._tasks.last_success.update(last_successes(cursor))
        self._read_at = self._monotonic()
