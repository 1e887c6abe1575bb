"""Rows of `book_tops` and `book_snapshots`: the published books of an exchange at their spacing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from config.pacing import Outage
from db.book_snapshots import BookSnapshotRow
from db.book_tops import BookTop
from db.bus import BusError
from db.bus.books import Books
from jobs.books.keeping.kept_book import KeptBook
from jobs.books.parts.states import State

log = logging.getLogger("jobs.books")


class History:
    """Appends rows to the stream of the store; a spacing of 0 s stores none.

    The time of a row is the exchange's: a book without a new message gives no row. Rows that the
    bus does not take are lost.
    """

    def __init__(self, bus: Books, top_seconds: float, snapshot_seconds: float, monotonic: Callable[[], float]) -> None:
        self._bus = bus
        self._spacings = {"top": top_seconds, "snapshot": snapshot_seconds}
        self._monotonic = monotonic
        self._due = {name: monotonic() for name in self._spacings}
        self._stored: dict[tuple[str, str], str] = {}  # kind, instrument -> time of the last row
        self._outage = Outage(log, "the history of books is not stored", monotonic=monotonic)

    def attend(self, books: Iterable[KeptBook]) -> None:
        """Append the rows that are due."""
        kept = [each for each in books if each.line.is_live and each.machine.state is State.LIVE and each.served is not None]
        tops = [_top(each, body, numbers) for each, body in self._new("top", kept) if (numbers := each.measures()) is not None]
        snapshots = [_snapshot(each, body) for each, body in self._new("snapshot", kept)]
        if not tops and not snapshots:
            return
        try:
            self._bus.append_book_rows(tops, snapshots)
        except BusError as error:
            self._outage.failed(error)
        else:
            self._outage.recovered()

    def _new(self, kind: str, books: Iterable[KeptBook]) -> list[tuple[KeptBook, dict[str, Any]]]:
        """The books with a row of this kind that is due, and their published bodies."""
        spacing, now = self._spacings[kind], self._monotonic()
        if not spacing or now < self._due[kind]:
            return []
        self._due[kind] = max(self._due[kind] + spacing, now)
        found = []
        for book in books:
            body = book.served
            if body is not None and self._stored.get((kind, book.instrument)) != body["time"]:
                self._stored[kind, book.instrument] = body["time"]
                found.append((book, body))
        return found


def _top(book: KeptBook, body: dict[str, Any], numbers: dict[str, Any]) -> BookTop:
    (bid, bid_qty), (ask, ask_qty) = body["bids"][0], body["asks"][0]
    return BookTop(
        book.instrument,
        body["time"],
        bid,
        bid_qty,
        ask,
        ask_qty,
        numbers["weighted_mid"],
        numbers["imbalance"]["1"],
        body["update_id"],
        str(book.machine.state),
    )


def _snapshot(book: KeptBook, body: dict[str, Any]) -> BookSnapshotRow:
    return BookSnapshotRow(book.instrument, body["time"], body["update_id"], {"bids": body["bids"], "asks": body["asks"]})
