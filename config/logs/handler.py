"""Log output that survives a full disk and a rotation; lost lines are counted."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import TextIO

from config.logs.format import ACCESS

RETRY_SECONDS = 5.0  # between two attempts to write, after a failure
MAX_WAITING = 50  # access records that one write contains
_WAITING = logging.makeLogRecord({"name": ACCESS})  # stands for the access records that wait


class LastingHandler(logging.StreamHandler[TextIO]):
    """Writes records to a stream.

    After an `OSError`, such as that of a full disk, it drops records and tries again every
    `RETRY_SECONDS`. One warning with the number of lost records precedes the next written one.
    While `batching`, records of the access log wait for the next other record, for `write_waiting`,
    or until there are `MAX_WAITING`: each write costs more than the record.
    """

    def __init__(self, stream: TextIO, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._prepare(monotonic)

    def _prepare(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._failed: float | None = None  # monotonic time of the last failure
        self._lost = 0
        self._reason = ""
        self.batching = False
        self._waiting: list[str] = []  # formatted access records
        self._writing = 1  # records in the current write

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or drop it."""
        if self._failed is not None:
            if self._monotonic() - self._failed < RETRY_SECONDS:
                self._lost += 1
                return
            self._failed, lost, self._lost = None, self._lost, 0
            self._write(self._warning(lost))
            if self._failed is not None:
                self._lost += lost  # `handleError` has counted the warning in place of the record
                return
        if self.batching and record.name == ACCESS and record is not _WAITING:
            self._waiting.append(super().format(record))
            if len(self._waiting) < MAX_WAITING:
                return
            record = _WAITING
        self._write(record)

    def write_waiting(self) -> None:
        """Write the access records that wait."""
        self.acquire()
        try:
            if self._waiting:
                self.emit(_WAITING)
        finally:
            self.release()

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of the record, behind those that wait."""
        lines, self._waiting = self._waiting, []
        if record is not _WAITING:
            lines.append(super().format(record))
        self._writing = len(lines)
        return self.terminator.join(lines)

    def _write(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:  # of the search for the file, outside of the protection of `logging`
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Note that the stream takes nothing; leave other errors to `logging`."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            self._failed = self._monotonic()
            self._lost += self._writing
            self._reason = str(error.strerror)
        else:
            super().handleError(record)

    def _warning(self, lost: int) -> logging.LogRecord:
        record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, "the log was not written", (), None)
        record.__dict__.update(reason=self._reason, records_lost=lost)
        return record


class LastingFileHandler(LastingHandler, WatchedFileHandler):
    """Writes records to the end of a file; after a rename of it, to a new file of its name.

    Raises `OSError` if the file cannot be opened.
    """

    def __init__(self, file: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        WatchedFileHandler.__init__(self, file, encoding="utf-8")
        self._prepare(monotonic)
