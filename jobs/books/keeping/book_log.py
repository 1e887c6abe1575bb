"""Log lines about books."""

from __future__ import annotations

import logging
from collections.abc import Callable

from config.pacing import Throttle
from jobs.books.keeping.kept_book import KeptBook
from jobs.books.parts.states import StateChange

log = logging.getLogger("jobs.books")


class BookLog:
    """The events `orderbook_update` and `alert`, and unusable messages. One thread uses it."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.processing_ms = 0.0  # of the last diff
        self.is_ending = False  # the process ends in order: books that stop are no alert
        self._throttle = Throttle(monotonic=monotonic)

    def bad_message(self, book: KeptBook, kind: str, error: Exception) -> None:
        if (count := self._throttle.due(f"{book.instrument} {kind}")) is not None:
            fields = {"symbol": book.instrument, "kind": kind, "reason": str(error)[:300], "count": count}
            log.warning("unusable message of a book (repeats suppressed for 60 s)", extra=fields)

    def left_live(self, book: KeptBook, change: StateChange) -> None:
        if self.is_ending:
            return
        fields = {"symbol": book.instrument, "code": change.reason, "state": change.state, "severity": "warning"}
        log.warning("alert", extra={**fields, "processing_ms": self.processing_ms, "queue_size": book.line.queue_size()})

    def updated(self, book: KeptBook, seconds: float) -> None:
        """A diff was handled within so many seconds."""
        self.processing_ms = round(seconds * 1_000, 3)
        if log.isEnabledFor(logging.DEBUG):
            fields = {"symbol": book.instrument, "update_id": book.machine.update_id, "processing_ms": self.processing_ms}
            log.debug("orderbook_update", extra={**fields, "queue_size": book.line.queue_size()})
