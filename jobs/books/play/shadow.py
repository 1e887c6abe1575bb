"""The shadow book of a run: it follows the exchange before the faults. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from jobs.feeds.scenario.complete import CompleteBook, Level, Levels
from jobs.feeds.scenario.messages import Played

# Per instrument. A full queue and the messages that are due behind it stay below this.
MAX_WAITING = 200_000


class ShadowBooks:
    """One shadow book per instrument; `wrong` counts published books that differ from it.

    A shadow follows a message as soon as a book with the message's id is published, so that both
    have the same id. `unchecked` counts published books with an id that the shadow cannot have: it
    is inside a diff, or older than the messages that are kept.
    """

    def __init__(self, new_book: Callable[[], Levels]) -> None:
        self.wrong = self.checked = self.unchecked = 0
        self._new_book = new_book
        self._books: dict[str, CompleteBook] = {}
        self._waiting: dict[str, deque[Played]] = {}  # instrument -> messages of the exchange, oldest first

    def follow(self, message: Played) -> None:
        """Keep a message of the exchange until a book with its id is published."""
        if message.kind not in ("diff", "restart"):
            return
        waiting = self._waiting.setdefault(message.instrument, deque())
        waiting.append(message)
        if len(waiting) > MAX_WAITING:
            self._book(message.instrument).follow(waiting.popleft())

    def check(self, instrument: str, update_id: int, bids: Sequence[Level], asks: Sequence[Level]) -> bool:
        """Compare the top of a book that is published as `live`; False if it is wrong.

        `bids` and `asks` have the proven levels only, best first.
        """
        book = self._book(instrument)
        waiting = self._waiting.get(instrument, deque())
        while waiting and waiting[0].last_id <= update_id:
            book.follow(waiting.popleft())
        if book.update_id != update_id:
            self.unchecked += 1
            return True
        self.checked += 1
        own_bids, own_asks = book.top(max(len(bids), len(asks)))
        right = _same(bids, own_bids) and _same(asks, own_asks)
        self.wrong += not right
        return right

    def _book(self, instrument: str) -> CompleteBook:
        if instrument not in self._books:
            self._books[instrument] = CompleteBook(self._new_book())
        return self._books[instrument]


def _same(published: Sequence[Level], own: Sequence[Level]) -> bool:
    """True if each published level is the shadow's at its place; the shadow may have more."""
    return [list(level) for level in published] == [list(level) for level in own[: len(published)]]
