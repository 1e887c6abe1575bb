"""The complete book of the simulated exchange, from which it answers snapshot requests. Pure.

The book itself is an argument: `jobs/feeds` imports nothing of `jobs/books`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

import orjson

from jobs.feeds.scenario.messages import Played, levels_of

Level = list[str]  # [price, quantity]


class Levels(Protocol):
    """A book without a window, as `jobs.books.book.Book` is one."""

    def replace(self, bids: Sequence[Level], asks: Sequence[Level]) -> None: ...

    def apply(self, bids: Sequence[Level], asks: Sequence[Level]) -> None: ...

    def top(self, levels: int) -> tuple[Sequence[Level], Sequence[Level]]: ...


class CompleteBook:
    """A book that follows the messages of one instrument before any fault.

    `update_id` is that of its last message; None: no snapshot yet.
    """

    def __init__(self, levels: Levels) -> None:
        self.update_id: int | None = None
        self._levels = levels

    def follow(self, message: Played) -> None:
        """Take a message over. Older diffs and messages of other kinds change no level."""
        if message.base is not None:
            self._levels.replace(*levels_of(message.base))
            self.update_id = message.last_id if message.kind == "restart" else message.first_id - 1
        if message.kind == "diff" and self.update_id is not None and message.last_id > self.update_id:
            self._levels.apply(*levels_of(message.recorded_text))
            self.update_id = message.last_id

    def top(self, levels: int) -> tuple[Sequence[Level], Sequence[Level]]:
        return self._levels.top(levels)

    def snapshot(self, levels: int) -> bytes | None:
        """The answer of the exchange to a snapshot request; None before the first snapshot."""
        if self.update_id is None:
            return None
        bids, asks = self._levels.top(levels)
        return orjson.dumps({"lastUpdateId": self.update_id, "bids": bids, "asks": asks})


class LateBook:
    """A complete book that follows the messages `seconds` after they are due."""

    def __init__(self, book: CompleteBook, seconds: float) -> None:
        self._book = book
        self._seconds = seconds
        self._waiting: deque[Played] = deque()  # oldest first

    def follow(self, message: Played) -> None:
        if message.kind in ("diff", "restart"):
            self._waiting.append(message)
        self._advance(message.due)

    def snapshot(self, levels: int, now: float) -> bytes | None:
        """The answer to a request at `now`, as old as this book is late.

        In the first seconds it is the oldest that exists.
        """
        self._advance(now)
        while self._book.update_id is None and self._waiting:
            self._book.follow(self._waiting.popleft())
        return self._book.snapshot(levels)

    def _advance(self, now: float) -> None:
        while self._waiting and self._waiting[0].due <= now - self._seconds:
            self._book.follow(self._waiting.popleft())
