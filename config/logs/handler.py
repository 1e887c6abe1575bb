"""Log output that survives a full disk: lines are lost and counted, the process goes on."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import TextIO

RETRY_SECONDS = 5.0  # between two attempts to write, after a failure


class LastingHandler(logging.StreamHandler[TextIO]):
    """Writes records to a stream.

    After an `OSError`, such as that of a full disk, it drops records and tries again every
    `RETRY_SECONDS`. One warning with the number of lost records precedes the next written one.
    """

    def __init__(self, stream: TextIO, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._monotonic = monotonic
        self._failed: float | None = None  # monotonic time of the last failure
        self._lost = 0
        self._reason = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or drop it."""
        if self._failed is not None:
            if self._monotonic() - self._failed < RETRY_SECONDS:
                self._lost += 1
                return
            self._failed, lost, self._lost = None, self._lost, 0
            super().emit(self._warning(lost))
            if self._failed is not None:
                self._lost += lost  # `handleError` has counted the warning in place of the record
                return
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Note that the stream takes nothing; leave other errors to `logging`."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            self._failed = self._monotonic()
            self._lost += 1
            self._reason = str(error.strerror)
        else:
            super().handleError(record)

    def _warning(self, lost: int) -> logging.LogRecord:
        record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, "the log was not written", (), None)
        record.__dict__.update(reason=self._reason, records_lost=lost)
        return record
