"""The best levels of one book for each depth, as bodies of `book_snapshot` and `book_update`. Pure.

The bodies have no `seq` and `epoch` yet: the bus adds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from db.figures.book_checksum import checksums_of
from jobs.books.book import CHECKSUM_LEVELS, Best, Book, Levels, Written
from jobs.books.parts.states import StateChange
from jobs.books.top_changes import changes, end_of, side_changes

DEPTHS = (5, 10, 20, 50)

Body = dict[str, Any]


class Facts(NamedTuple):
    """The fields of a message beside the levels; both times are texts, `lag_ms` is a duration."""

    state: str
    reason: str
    update_id: int
    time: str  # the exchange's event time
    timestamp: str  # of the publication
    lag_ms: float


class DepthMessage(NamedTuple):
    """A message of one topic; `update` is None if the chain of updates begins anew."""

    depth: int
    update: Body | None
    snapshot: Body


class Tops:
    """The levels that were published last, best first."""

    def __init__(self, instrument: str, depths: Sequence[int] = DEPTHS) -> None:
        self._instrument = instrument
        self._depths = tuple(sorted(depths))
        self._counts = tuple(sorted({min(depth, CHECKSUM_LEVELS) for depth in depths}))
        self._checksums: dict[int, int] = {}  # number of levels a side -> their checksum
        # The place of the smallest depth whose levels contain those of every checksum.
        self._covers = next((place for place, depth in enumerate(self._depths) if depth >= CHECKSUM_LEVELS), len(self._depths) - 1)
        self._bids = self._asks = Best([], [])
        self._unchanged: list[Levels] = [[] for _ in self._depths]
        self._written = Written()  # since these levels were published

    def snapshot(self, book: Book, facts: Facts) -> list[DepthMessage]:
        """A snapshot for every depth: the levels before are forgotten."""
        self._bids, self._asks = book.best_bids(self._depths[-1]), book.best_asks(self._depths[-1])
        self._watch(book)
        self._compute_checksums()
        complete = _complete(book)
        return [DepthMessage(depth, None, self._snapshot_body(depth, complete, facts)) for depth in self._depths]

    def update(self, book: Book, facts: Facts) -> list[DepthMessage]:
        """Update and snapshot for each depth whose top levels have changed."""
        changed_bids, changed_asks = self._changes(book)
        self._watch(book)
        if not changed_bids[-1] and not changed_asks[-1]:
            return []
        if changed_bids[self._covers] or changed_asks[self._covers]:
            self._compute_checksums()
        complete, messages = _complete(book), []
        for depth, bids, asks in zip(self._depths, changed_bids, changed_asks, strict=True):
            if bids or asks:
                snapshot = self._snapshot_body(depth, complete, facts)
                messages.append(DepthMessage(depth, self._update_body(depth, bids, asks, snapshot), snapshot))
        return messages

    def _watch(self, book: Book) -> None:
        """Begin to note the levels that the book writes from now on."""
        most = self._depths[-1]
        self._written = book.written = Written(end_of(self._bids.keys, most), end_of(self._asks.keys, most))

    def _changes(self, book: Book) -> tuple[list[Levels], list[Levels]]:
        """Take the best levels; return the changes of bids and asks for each depth."""
        written, most, old_bids, old_asks = book.written, self._depths[-1], self._bids, self._asks
        if written is not self._written:  # another book: nobody has noted its levels
            self._bids, self._asks = book.best_bids(most), book.best_asks(most)
            return (
                [changes(old_bids.levels[:depth], self._bids.levels[:depth], is_bid=True) for depth in self._depths],
                [changes(old_asks.levels[:depth], self._asks.levels[:depth], is_bid=False) for depth in self._depths],
            )
        bids = asks = self._unchanged
        if written.bids:
            self._bids = book.best_bids(most)
            bids = side_changes(old_bids, self._bids, written.bids, book.bid_at, self._depths)
        if written.asks:
            self._asks = book.best_asks(most)
            asks = side_changes(old_asks, self._asks, written.asks, book.ask_at, self._depths)
        return bids, asks

    def _compute_checksums(self) -> None:
        found = checksums_of(self._bids.levels, self._asks.levels, self._counts)
        self._checksums = dict(zip(self._counts, found, strict=True))

    def _snapshot_body(self, depth: int, complete: Body, facts: Facts) -> Body:
        return {
            "instrument": self._instrument,
            "depth": depth,
            "state": facts.state,
            "reason": facts.reason,
            "bids": self._bids.levels[:depth],
            "asks": self._asks.levels[:depth],
            "complete": complete,
            "update_id": facts.update_id,
            "checksum": self._checksums[min(depth, CHECKSUM_LEVELS)],
            "time": facts.time,
            "timestamp": facts.timestamp,
            "lag_ms": facts.lag_ms,
        }

    def _update_body(self, depth: int, bids: Levels, asks: Levels, snapshot: Body) -> Body:
        return {
            "instrument": self._instrument,
            "depth": depth,
            "bids": bids,
            "asks": asks,
            "update_id": snapshot["update_id"],
            "checksum": snapshot["checksum"],
            "time": snapshot["time"],
            "timestamp": snapshot["timestamp"],
            "lag_ms": snapshot["lag_ms"],
        }


def state_body(instrument: str, change: StateChange, timestamp: str) -> Body:
    """The body of `book_state`."""
    return {
        "instrument": instrument,
        "state": change.state,
        "previous": change.previous,
        "reason": change.reason,
        "update_id": change.update_id,
        "expected_id": change.expected_id,
        "received_id": change.received_id,
        "timestamp": timestamp,
    }


def _complete(book: Book) -> Body:
    complete = book.complete
    return {"bids": complete.bids, "asks": complete.asks, "from": complete.low, "to": complete.high}
