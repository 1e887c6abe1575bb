"""Small books for tests of scenarios: the spot rules in few lines, without the product's books."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import orjson

from jobs.feeds.scenario.messages import Played

Level = list[str]
STALE_AFTER = 5.0


class SmallLevels:
    """Levels of both sides, sorted when they are read."""

    def __init__(self) -> None:
        self._sides: tuple[dict[Decimal, Level], dict[Decimal, Level]] = ({}, {})

    def replace(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        self._sides = ({}, {})
        self.apply(bids, asks)

    def apply(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        for held, side in zip(self._sides, (bids, asks), strict=True):
            for price, quantity in side:
                if Decimal(quantity):
                    held[Decimal(price)] = [price, quantity]
                else:
                    held.pop(Decimal(price), None)

    def top(self, levels: int) -> tuple[list[Level], list[Level]]:
        bids, asks = self._sides
        return [bids[key] for key in sorted(bids, reverse=True)[:levels]], [asks[key] for key in sorted(asks)[:levels]]


class NoLevels:
    """Levels that nobody reads."""

    def replace(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        pass

    apply = replace

    def top(self, levels: int) -> tuple[list[Level], list[Level]]:
        return [], []


class SmallBook:
    """One book with its state. `changes` are (time, previous, state, reason)."""

    def __init__(self, levels: SmallLevels | NoLevels) -> None:
        self.levels = levels
        self.state, self.reason = "syncing", "start"
        self.update_id = 0
        self.buffer: list[dict[str, Any]] = []
        self.last_message = 0.0
        self.not_live_since = 0.0
        self.changes: list[tuple[float, str, str, str]] = []

    def change(self, state: str, reason: str, now: float) -> None:
        if self.state == "live":
            self.not_live_since = now
        self.changes.append((now, self.state, state, reason))
        self.state, self.reason = state, reason


class SmallBooks:
    """The receiver of a flow; `published` is called with each book after a diff while it is live.

    Set `request` to the flow's `request_snapshot` before the flow advances.
    """

    def __init__(self, levels: Callable[[], SmallLevels | NoLevels], published: Callable[[str, SmallBook], None] | None = None) -> None:
        self.books: dict[str, SmallBook] = {}
        self.request: Callable[..., None] = lambda instrument, delay=0.0: None
        self.received: list[tuple[str, int, int]] = []  # kind, first and last id
        self.refusals: list[tuple[float, int | None]] = []
        self.requested_again = 0
        self._levels = levels
        self._published = published

    def book(self, instrument: str) -> SmallBook:
        return self.books.setdefault(instrument, SmallBook(self._levels()))

    def tick(self, now: float) -> None:
        for book in self.books.values():
            if book.state == "live" and now - book.last_message > STALE_AFTER:
                book.change("stale", "silent", now)

    def receive(self, message: Played, now: float) -> None:
        self.tick(now)
        book = self.book(message.instrument)
        self.received.append((message.kind, message.first_id, message.last_id))
        if message.kind == "diff":
            book.last_message = now
            self._diff(message.instrument, book, message.text, now)
        elif message.kind == "restart" and message.last_id > book.update_id:  # else a later snapshot has come already
            if book.state == "live":
                book.change("resyncing", "scenario", now)
            book.buffer = []
        elif message.kind == "snapshot":
            self.snapshot(message.instrument, message.text, now)
        elif message.kind == "disconnected" and book.state == "live":
            book.change("stale", "disconnected", now)
        elif message.kind == "connected" and book.state == "stale":
            self._resync(message.instrument, book, "disconnected", now)

    def overflow(self, instrument: str, now: float) -> None:
        book = self.book(instrument)
        if book.state == "live":
            self._gap(instrument, book, "overflow", now)

    def snapshot(self, instrument: str, text: bytes, now: float) -> None:
        book = self.book(instrument)
        message = orjson.loads(text)
        waiting = [each for each in book.buffer if each["u"] > message["lastUpdateId"]]
        if book.state not in ("syncing", "resyncing"):
            return
        if waiting and waiting[0]["U"] > message["lastUpdateId"] + 1:
            self.requested_again += 1
            self.request(instrument)
            return
        book.levels.replace(message["bids"], message["asks"])
        book.update_id, book.buffer = message["lastUpdateId"], []
        for each in waiting:
            book.levels.apply(each["b"], each["a"])
            book.update_id = each["u"]
        book.change("live", book.reason, now)

    def snapshot_failed(self, instrument: str, retry_after: int | None, now: float) -> None:
        self.refusals.append((now, retry_after))
        self.request(instrument, retry_after or 0.5)

    def _diff(self, instrument: str, book: SmallBook, text: bytes, now: float) -> None:
        try:
            diff = orjson.loads(text)["data"]
        except orjson.JSONDecodeError:
            if book.state == "live":
                self._gap(instrument, book, "bad_message", now)
            return
        if book.state in ("syncing", "resyncing"):
            book.buffer.append(diff)
            return
        if diff["u"] <= book.update_id or (book.state == "stale" and book.reason == "disconnected"):
            return
        if diff["U"] > book.update_id + 1:
            self._gap(instrument, book, "missing_update", now)
            book.buffer.append(diff)
            return
        if book.state == "stale":
            book.change("live", "silent", now)
        book.levels.apply(diff["b"], diff["a"])
        book.update_id = diff["u"]
        if self._published is not None:
            self._published(instrument, book)

    def _gap(self, instrument: str, book: SmallBook, reason: str, now: float) -> None:
        book.change("gap", reason, now)
        self._resync(instrument, book, reason, now)

    def _resync(self, instrument: str, book: SmallBook, reason: str, now: float) -> None:
        book.change("resyncing", reason, now)
        book.buffer = []
        self.request(instrument)
