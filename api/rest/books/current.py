"""Books as the bus has them: the last good levels, with the present state of each book."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from api.errors import ErrorCode
from api.rest.errors import ApiError
from db.book_bodies import cut_book
from db.bus import Bus
from db.figures.book_checksum import CHECKSUM_LEVELS, checksum_of
from db.figures.server_status import marked_row
from db.topics import BOOK_DEPTHS

LIVE = "live"
_NOT_BEGUN = "syncing"

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Books:
    """The rows of all books: state, measures; and the last heartbeat of their process."""

    rows: Mapping[str, Row]
    heartbeat: Row | None
    interval: float  # seconds between two heartbeats
    now: datetime

    @classmethod
    def read(cls, bus: Bus, interval: float, now: datetime) -> Books:
        """Read the rows. Raises `BusError`."""
        return cls(bus.book_rows(), bus.latest_heartbeat(), interval, now)

    def state(self, instrument: str) -> dict[str, Any]:
        """The row of `/book/states` of a book that is kept."""
        return marked_row(self.rows[instrument], self.heartbeat, self.interval, self.now)

    def mark(self, snapshot: dict[str, Any]) -> None:
        """Give the last good book of an instrument the present state and its reason.

        No book is published while its book is not live. So a book that is newer than such a row is
        live again, and the row follows.
        """
        row = self.state(snapshot["instrument"])
        if row["state"] == LIVE or row["since"] >= snapshot["timestamp"]:
            snapshot["state"], snapshot["reason"] = row["state"], row["reason"]

    def has(self, instrument: str) -> bool:
        """True if the book is kept."""
        return instrument in self.rows


def read_book(bus: Bus, books: Books, instrument: str, depth: int) -> dict[str, Any]:
    """The best `depth` levels of a book with its present state: the body of `book_snapshot`.

    Raises `ApiError` 404 `no_book` if the book is not kept, or was never live yet.
    """
    if not books.has(instrument):
        raise _no_book(instrument, f"no book of {instrument} is kept: BOOK_SYMBOLS names the instruments with a book")
    body = bus.latest_book(instrument, topic_depth(depth))
    snapshot = None if body is None else orjson.loads(cut_book(body).snapshot)
    row = books.rows[instrument]
    if snapshot is None or (row["state"] == _NOT_BEGUN and row["since"] >= snapshot["timestamp"]):
        raise _no_book(instrument, f"the book of {instrument} was not live yet: try again")
    books.mark(snapshot)
    return cut_levels(snapshot, depth)


def topic_depth(depth: int) -> int:
    """The smallest depth of a topic with at least `depth` levels."""
    return next(each for each in BOOK_DEPTHS if each >= depth)


def cut_levels(snapshot: dict[str, Any], depth: int) -> dict[str, Any]:
    """The snapshot of a topic with `depth` levels and their checksum."""
    if snapshot["depth"] == depth:
        return snapshot
    bids, asks = snapshot["bids"][:depth], snapshot["asks"][:depth]
    count = min(depth, CHECKSUM_LEVELS)
    return {**snapshot, "depth": depth, "bids": bids, "asks": asks, "checksum": checksum_of(bids[:count], asks[:count])}


def _no_book(instrument: str, message: str) -> ApiError:
    return ApiError(404, ErrorCode.NO_BOOK, message, {"symbol": [instrument]})
