"""Order books of the stand-in: complete books from the recordings, and answers of `/depth`.

The levels are kept with Decimal and `sorted()`, and share nothing with the product.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from tests.standins.binance_market import Market

Level = list[str]
PATHS = {"/api/v3/depth": "spot", "/fapi/v1/depth": "usdm"}
_DEFAULT_LIMITS = {"spot": 100, "usdm": 500}
_LARGEST_LIMITS = {"spot": 5000, "usdm": 1000}
# (largest limit, weight)
_WEIGHTS = {"spot": ((100, 5), (500, 25), (1000, 50), (5000, 250)), "usdm": ((50, 2), (100, 5), (500, 10), (1000, 20))}


def weight_of(path: str, limit: int) -> int:
    """The request weight of a snapshot."""
    return next((weight for largest, weight in _WEIGHTS[PATHS[path]] if limit <= largest), 250)


def limit_of(path: str, limit: int | None) -> int:
    """The number of levels a side that the exchange sends."""
    market = PATHS[path]
    return min(limit or _DEFAULT_LIMITS[market], _LARGEST_LIMITS[market])


@dataclass(frozen=True, slots=True)
class SnapshotFault:
    """Faults of one answer.

    `age`: the book is that of so many market seconds ago. `inside`: its id lies in the middle of
    the next diff. `delay`: the answer is sent so many seconds later. `hang`: it is never sent.
    `body`: it is sent instead.
    """

    age: float = 0.0
    inside: bool = False
    delay: float = 0.0
    hang: bool = False
    body: str | None = None


class DepthBooks:
    """The complete book of each symbol at any place of the market."""

    def __init__(self, market: Market) -> None:
        self.faults: list[tuple[str | None, SnapshotFault]] = []  # of the next answers: symbol or any, fault
        self.asked: list[dict[str, Any]] = []  # {"symbol", "limit", "id", "place"} of each answer
        self._market = market
        self._books: dict[str, _Book] = {}

    def add_fault(self, symbol: str | None, count: int, fault: SnapshotFault) -> None:
        """Spoil the next `count` answers for `symbol`, or for any."""
        self.faults += [(symbol, fault)] * count

    def take_fault(self, symbol: str | None) -> SnapshotFault:
        """The fault of the next answer."""
        for number, (wanted, fault) in enumerate(self.faults):
            if wanted in (None, symbol):
                del self.faults[number]
                return fault
        return SnapshotFault()

    def answer(self, symbol: str, limit: int, place: int, fault: SnapshotFault) -> dict[str, Any]:
        """The body of a snapshot after `place` messages."""
        if fault.age and place:
            due = self._market.entries[place - 1].due - fault.age
            place = bisect_right(self._market.entries, due, key=lambda entry: entry.due)
        book = self._book(symbol, place)
        update_id = book.middle_of_next() if fault.inside else book.update_id
        bids, asks = book.top(limit)
        self.asked.append({"symbol": symbol, "limit": limit, "id": update_id, "place": place})
        times = {"E": book.event_ms, "T": book.event_ms} if self._market.kind == "usdm" else {}
        return {"lastUpdateId": update_id, **times, "bids": bids, "asks": asks}

    def top(self, symbol: str, levels: int, place: int) -> dict[str, Any]:
        """Id and best levels after `place` messages, for comparisons."""
        book = self._book(symbol, place)
        bids, asks = book.top(levels)
        return {"id": book.update_id, "bids": bids, "asks": asks}

    def at(self, symbol: str, update_id: int, levels: int) -> tuple[list[Level], list[Level]]:
        """The best levels after the diff that ends at `update_id`, or of the snapshot with it."""
        book = self._books.get(symbol)
        if book is None or book.update_id > update_id:
            book = self._books[symbol] = _Book(self._market, symbol)
        book.advance_to(update_id)
        assert book.update_id == update_id, f"no diff ends at {update_id}"
        return book.top(levels)

    def _book(self, symbol: str, place: int) -> _Book:
        book = self._books.get(symbol)
        if book is None or book.place > place:
            book = self._books[symbol] = _Book(self._market, symbol)
        book.advance(place)
        return book


class _Book:
    """A book that begins with the recorded snapshot, and follows the diffs after it."""

    def __init__(self, market: Market, symbol: str) -> None:
        base = orjson.loads(market.snapshots[symbol])
        self.place = 0  # in the market
        self.update_id: int = base["lastUpdateId"]
        self.event_ms = 0
        self._market = market
        self._places = market.diffs[symbol]
        self._next = 0  # number of the next diff
        self._bids: dict[Decimal, Level] = {}
        self._asks: dict[Decimal, Level] = {}
        self._apply(base["bids"], base["asks"])

    def advance(self, place: int) -> None:
        """Apply the diffs before `place`."""
        self.place = place
        while self._next < len(self._places) and self._places[self._next] < place:
            self._take_next()

    def advance_to(self, update_id: int) -> None:
        """Apply the diffs up to `update_id`."""
        while self.update_id < update_id and self._next < len(self._places):
            self._take_next()

    def _take_next(self) -> None:
        diff = self._diff(self._next)
        self._next += 1
        if diff["u"] > self.update_id:
            self._apply(diff["b"], diff["a"])
            self.update_id, self.event_ms = diff["u"], diff["E"]

    def middle_of_next(self) -> int:
        """An id inside the next diff after the book."""
        number = self._next
        while self._diff(number)["u"] <= self.update_id:
            number += 1
        diff = self._diff(number)
        return max(self.update_id, (int(diff["U"]) + int(diff["u"])) // 2)

    def top(self, levels: int) -> tuple[list[Level], list[Level]]:
        """The best levels of both sides, best first."""
        bids, asks = sorted(self._bids, reverse=True)[:levels], sorted(self._asks)[:levels]
        return [self._bids[key] for key in bids], [self._asks[key] for key in asks]

    def _diff(self, number: int) -> dict[str, Any]:
        return dict(orjson.loads(self._market.entries[self._places[number]].body)["data"])

    def _apply(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        for held, side in ((self._bids, bids), (self._asks, asks)):
            for price, quantity in side:
                if Decimal(quantity):
                    held[Decimal(price)] = [price, quantity]
                else:
                    held.pop(Decimal(price), None)


def altered(body: bytes) -> bytes:
    """A book ticker with twice the quantity of its best bid."""
    message = orjson.loads(body)
    message["data"]["B"] = f"{Decimal(message['data']['B']) * 2:f}"
    return bytes(orjson.dumps(message))
