"""Rows of `gaps` of kind `book`: departures of live books that end with a new snapshot."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from config.pacing import Outage, StopSignal
from db.book_gaps import BookGap, fill_book_gaps, save_book_gap, withdraw_book_gap
from db.postgres import Cursor, RowError, Store, StoreError
from jobs.books.book import Book
from jobs.books.keeping.kept_book import KeptBook
from jobs.books.parts.states import Reason, State, StateChange

log = logging.getLogger("jobs.books")

SOURCE = "binance"
MAX_WAITING = 10_000  # rows, in an outage of the store
WAIT_SECONDS = 1.0
RETRY_SECONDS = 2.0

Write = Callable[[Cursor], object]


@dataclass(frozen=True, slots=True)
class _Departure:
    """`book` is the one that was live: another one at the return comes from a new snapshot."""

    gap: BookGap
    book: Book


class GapRows:
    """Follows the states of the live books; `run` is the thread that writes.

    A return without a new snapshot, after a silence or from `thin`, leaves no row.
    """

    def __init__(self, store: Store, clock: Callable[[], datetime], *, is_spot: bool) -> None:
        self._store = store
        self._clock = clock
        self._is_spot = is_spot
        self._departures: dict[str, _Departure] = {}  # instrument -> departure that has not ended
        self._writes: deque[Write] = deque(maxlen=MAX_WAITING)  # oldest first
        self._news = threading.Event()
        self._outage = Outage(log, "gaps of books are not stored", monotonic=time.monotonic)

    def note(self, book: KeptBook, change: StateChange) -> None:
        """A live book changes its state. Called by the worker."""
        name, now = book.instrument, self._clock()
        if change.state is change.previous:
            return
        if change.state is State.LIVE:
            self._note_return(name, self._departures.pop(name, None), book, now)
            return
        if change.previous is State.LIVE:
            self._departures[name] = _Departure(BookGap(name, now, change.reason, *self._missing(change)), book.machine.book)
        departure = self._departures.get(name)
        if departure is not None and change.state is not State.STALE and change.reason is not Reason.THIN:
            self._write(departure.gap)

    def run(self, stop: StopSignal) -> None:
        """Write until `stop` is set, and then the rest once."""
        while not stop.is_set():
            self._news.wait(WAIT_SECONDS)
            self._news.clear()
            if not self.write_waiting():
                stop.wait(RETRY_SECONDS)
        self.write_waiting()

    def write_waiting(self) -> bool:
        """Write the rows that wait; return False if the store does not take them."""
        while self._writes:
            write = self._writes[0]
            try:
                with self._store.transaction() as cursor:
                    write(cursor)
            except StoreError as error:
                self._outage.failed(error)
                return False
            except RowError as error:
                log.error("a gap of a book is not stored", extra={"reason": str(error)})
            self._outage.recovered()
            if self._writes and self._writes[0] is write:  # else the oldest were given up meanwhile
                self._writes.popleft()
        return True

    def _note_return(self, name: str, departure: _Departure | None, book: KeptBook, now: datetime) -> None:
        if departure is None:
            self._add(lambda cursor: fill_book_gaps(cursor, SOURCE, name, now, self._clock()))
        elif departure.book is not book.machine.book:
            self._write(replace(departure.gap, end=now))
        else:
            gap = departure.gap  # a silent book that ran thin has an open row
            self._add(lambda cursor: withdraw_book_gap(cursor, SOURCE, gap))

    def _write(self, gap: BookGap) -> None:
        self._add(lambda cursor: save_book_gap(cursor, SOURCE, gap, self._clock()))

    def _add(self, write: Write) -> None:
        self._writes.append(write)
        self._news.set()

    def _missing(self, change: StateChange) -> tuple[int, int] | tuple[None, None]:
        """First and last missing id; spot names the next id and `U`, USD-M the own id and `pu`."""
        expected, received = change.expected_id, change.received_id
        if expected is None or received is None or received <= expected:
            return None, None
        return (expected, received - 1) if self._is_spot else (expected + 1, received)
