"""The best levels of one book for each depth, as bodies of `book_snapshot` and `book_update`. Pure.

The bodies have no `seq` and `epoch` yet: the bus adds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jobs.books.book import CHECKSUM_LEVELS, Book, Levels, checksum_of
from jobs.books.parts.states import StateChange

DEPTHS = (5, 10, 20, 50)
REMOVED = "0"  # quantity of a level that left the top N
UNCHANGED = 1_000_000  # above every depth

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Facts:
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
        self._bids: Levels = []
        self._asks: Levels = []

    def snapshot(self, book: Book, facts: Facts) -> list[DepthMessage]:
        """A snapshot for every depth: the levels before are forgotten."""
        self._bids, self._asks = book.top(self._depths[-1])
        complete, checksums = _complete(book), self._checksums()
        return [DepthMessage(depth, None, self._snapshot_body(depth, complete, checksums, facts)) for depth in self._depths]

    def update(self, book: Book, facts: Facts) -> list[DepthMessage]:
        """Update and snapshot for each depth whose top levels have changed."""
        old_bids, old_asks = self._bids, self._asks
        self._bids, self._asks = book.top(self._depths[-1])
        bids_from, asks_from = _first_change(old_bids, self._bids), _first_change(old_asks, self._asks)
        first = min(bids_from, asks_from)
        if first >= self._depths[-1]:
            return []
        complete, checksums, messages = _complete(book), self._checksums(), []
        for depth in self._depths:
            if first < depth:
                bids = changes(old_bids[bids_from:depth], self._bids[bids_from:depth], is_bid=True) if bids_from < depth else []
                asks = changes(old_asks[asks_from:depth], self._asks[asks_from:depth], is_bid=False) if asks_from < depth else []
                snapshot = self._snapshot_body(depth, complete, checksums, facts)
                messages.append(DepthMessage(depth, self._update_body(depth, bids, asks, snapshot), snapshot))
        return messages

    def _checksums(self) -> dict[int, int]:
        """The number of levels in a checksum -> the checksum."""
        counts = {min(depth, CHECKSUM_LEVELS) for depth in self._depths}
        return {count: checksum_of(self._bids[:count], self._asks[:count]) for count in counts}

    def _snapshot_body(self, depth: int, complete: Body, checksums: dict[int, int], facts: Facts) -> Body:
        return {
            "instrument": self._instrument,
            "depth": depth,
            "state": facts.state,
            "reason": facts.reason,
            "bids": self._bids[:depth],
            "asks": self._asks[:depth],
            "complete": complete,
            "update_id": facts.update_id,
            "checksum": checksums[min(depth, CHECKSUM_LEVELS)],
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


def changes(old: Levels, new: Levels, *, is_bid: bool) -> Levels:
    """The levels of `new` that differ from `old`, and those that left with quantity 0, best first.

    If two texts of a price differ in zeros at the end, the removal of the old one comes first.
    """
    before = {price: quantity for price, quantity in old}  # noqa: C416  # twice as fast as dict(old)
    changed = [level for level in new if before.pop(level[0], None) != level[1]]
    if before:
        changed = [[price, REMOVED] for price in before] + changed
        changed.sort(key=_price, reverse=is_bid)
    return changed


def _price(level: list[str]) -> float:
    return float(level[0])


def _first_change(old: Levels, new: Levels) -> int:
    """The place of the first level that differs; a large number if none does."""
    for place, (one, other) in enumerate(zip(old, new, strict=False)):
        if one is not other and one != other:
            return place
    return UNCHANGED if len(old) == len(new) else min(len(old), len(new))


def _complete(book: Book) -> Body:
    complete = book.complete
    return {"bids": complete.bids, "asks": complete.asks, "from": complete.low, "to": complete.high}
