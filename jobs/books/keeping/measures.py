"""Counts and durations of the books, for their metrics. The books' thread changes them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from config.metrics import BOOK_LAG_BUCKETS, RESYNC_BUCKETS
from db.measures import Lags
from jobs.books.keeping.kept_book import KeptBook
from jobs.books.parts.states import Reason, State, StateChange

GAP_REASONS = (Reason.MISSING_UPDATE, Reason.CROSSED, Reason.DIVERGED, Reason.OVERFLOW, Reason.BAD_MESSAGE)
TICKER, SNAPSHOT = "ticker", "snapshot"  # what a book is compared with
PASSED, FAILED = "passed", "failed"


@dataclass(slots=True)
class Totals:
    """The counts of one instrument."""

    updates: int = 0
    levels: int = 0
    resyncs: int = 0
    gaps: Counter[str] = field(default_factory=lambda: Counter({str(reason): 0 for reason in GAP_REASONS}))
    audits: Counter[tuple[str, str]] = field(default_factory=Counter)  # (compared with, result)

    def add(self, book: KeptBook) -> None:
        """Add the counts of a book."""
        audit = book.machine.audit
        self.updates += book.updates
        self.levels += book.levels
        self.resyncs += book.machine.resyncs
        self.gaps.update(dict(book.gaps))
        self.audits.update({(TICKER, PASSED): audit.passed, (TICKER, FAILED): audit.failed})
        self.audits.update({(SNAPSHOT, PASSED): audit.snapshots_passed, (SNAPSHOT, FAILED): audit.snapshots_failed})


class BookMeasures:
    """The durations of the stages of an update in seconds, and the counts of all books ever kept.

    `exchange`: from the event to the receipt, of a live exchange; `queue`: from the receipt to the
    worker; `apply`: in the worker without `publish`, which is the time of one publish.
    """

    def __init__(self) -> None:
        self.exchange, self.queue, self.apply, self.publish = (Lags(BOOK_LAG_BUCKETS) for _ in range(4))
        self.resyncs = Lags(RESYNC_BUCKETS)
        self._lock = threading.Lock()  # held for microseconds, while a book is dropped or counts are read
        self._former: dict[str, Totals] = {}  # of the books that were dropped

    def drop(self, books: dict[str, KeptBook], instrument: str) -> None:
        """Remove the book; its counts stay."""
        with self._lock:
            if (book := books.pop(instrument, None)) is not None:
                self._former.setdefault(instrument, Totals()).add(book)

    def totals(self, books: Mapping[str, KeptBook]) -> dict[str, Totals]:
        """Instrument -> its counts. Any thread may call it."""
        found: dict[str, Totals] = {}
        with self._lock:
            for instrument, former in self._former.items():
                found[instrument] = Totals(former.updates, former.levels, former.resyncs, former.gaps.copy(), former.audits.copy())
            for instrument, book in list(books.items()):
                found.setdefault(instrument, Totals()).add(book)
        return found

    def changed(self, book: KeptBook, change: StateChange, now: float) -> None:
        """Note a change of state; a rebuilt book that is live has its duration."""
        if change.state is State.RESYNCING:
            book.resyncing_since = now if book.resyncing_since is None else book.resyncing_since
            return
        if change.state is State.LIVE and book.resyncing_since is not None:
            self.resyncs.observe(now - book.resyncing_since)
        book.resyncing_since = None
