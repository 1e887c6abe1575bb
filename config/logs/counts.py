"""Counts of the log records of this process, by level."""

from __future__ import annotations

import logging
import threading

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class LogCounts(logging.Handler):
    """Counts records and writes none. Levels between those of the table count as the lower one."""

    def __init__(self) -> None:
        super().__init__()
        self._counting = threading.Lock()
        self._counts = dict.fromkeys(LEVELS, 0)

    def createLock(self) -> None:
        """Have no lock of `logging`: `emit` has its own."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Count the record."""
        level = LEVELS[min(max(record.levelno // 10, 1), len(LEVELS)) - 1]
        with self._counting:
            self._counts[level] += 1

    def values(self) -> dict[tuple[str, ...], float]:
        """(level,) -> number of its records."""
        with self._counting:
            return {(level,): number for level, number in self._counts.items()}


LOG_COUNTS = LogCounts()
