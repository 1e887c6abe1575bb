"""The queue between the feed of live depth and its books."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from jobs.books.book import Level
from jobs.books.keeping.keeper import Keeper
from jobs.books.keeping.kept_book import KeptBook
from jobs.books.parts.states import StateChange
from jobs.books.queue import BookQueue

MESSAGES_PER_ROUND = 200  # of the worker, which has other duties too

ArrivalKind = Literal["connected", "disconnected", "diff", "ticker", "snapshot", "snapshot_failed", "overflow"]


@dataclass(frozen=True, slots=True)
class Arrival:
    """One call of the feed. `received` is on the monotonic clock."""

    kind: ArrivalKind
    instrument: str
    received: float
    text: bytes = b""
    number: int = 0  # of the request that is answered
    limit: int = 0  # levels that were requested
    retry_after: float | None = None

    @property
    def counts(self) -> bool:
        """True for a message that takes a place."""
        return self.kind == "diff"

    @property
    def stays(self) -> bool:
        """True for a message that a queue keeps when it is emptied."""
        return self.kind not in ("diff", "ticker")


class LiveLine:
    """Takes the calls of a feed from any thread, as `DepthSink`; gives them to the books in order.

    The feed never waits: a full queue is emptied, and the books that have lost messages are built
    again. `wake` is called for each message.
    """

    is_live = True

    def __init__(self, limit: int, *, monotonic: Callable[[], float], wake: Callable[[], None]) -> None:
        self.queue: BookQueue[Arrival] = BookQueue(limit, "resync")
        self.request: Callable[[str, int, bool], None] = lambda instrument, number, is_refresh: None  # of the feed
        self.note_change: Callable[[KeptBook, StateChange], None] = lambda book, change: None
        self.books: Mapping[str, KeptBook] = {}
        self._monotonic = monotonic
        self._wake = wake
        self._lock = threading.Lock()  # of `queue`

    # the feed

    def connected(self, instruments: Sequence[str], received: float) -> None:
        """Called by the feed, as all methods of this part: see `DepthSink`."""
        self._put(*(Arrival("connected", each, received) for each in instruments))

    def disconnected(self, instruments: Sequence[str], received: float) -> None:
        self._put(*(Arrival("disconnected", each, received) for each in instruments))

    def diff(self, instrument: str, text: bytes, received: float) -> None:
        self._put(Arrival("diff", instrument, received, text))

    def ticker(self, instrument: str, text: bytes, received: float) -> None:
        self._put(Arrival("ticker", instrument, received, text))

    def snapshot(self, instrument: str, number: int, text: bytes, limit: int, received: float) -> None:
        self._put(Arrival("snapshot", instrument, received, text, number, limit))

    def snapshot_failed(self, instrument: str, number: int, retry_after: float | None, received: float) -> None:
        self._put(Arrival("snapshot_failed", instrument, received, number=number, retry_after=retry_after))

    def _put(self, *arrivals: Arrival) -> None:
        now = self._monotonic()
        with self._lock:
            for arrival in arrivals:
                if self.queue.full:
                    for instrument in self.queue.overflow():
                        self.queue.put(Arrival("overflow", instrument, now), now)
                self.queue.put(arrival, now)
        self._wake()

    # the worker

    def advance(self, keeper: Keeper) -> bool:
        """Give some messages to the books; return True if others wait."""
        for _ in range(MESSAGES_PER_ROUND):
            with self._lock:
                if not self.queue:
                    return False
                arrival, _ = self.queue.take(self._monotonic())
            if (book := keeper.books.get(arrival.instrument)) is not None:
                _deliver(keeper, book, arrival)
            with self._lock:
                self.queue.finish(self._monotonic())
        return bool(self.queue)

    @property
    def is_idle(self) -> bool:
        """True if no message waits."""
        return not self.queue

    def lag(self) -> float:
        """The seconds that a diff waits which arrives now."""
        return self.queue.lag(self._monotonic())

    # the books

    def present(self) -> float:
        return self._monotonic()

    def queue_size(self) -> int:
        return self.queue.size

    def request_snapshot(self, instrument: str, number: int, is_refresh: bool) -> None:
        self.request(instrument, number, is_refresh)

    def changed(self, instrument: str, change: StateChange) -> None:
        if (book := self.books.get(instrument)) is not None:
            self.note_change(book, change)

    def published(self, instrument: str, update_id: int, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Nothing to compare with: the exchange's tickers audit a live book."""

    def publish_delay(self) -> float:
        return 0.0


def _deliver(keeper: Keeper, book: KeptBook, arrival: Arrival) -> None:
    kind, received = arrival.kind, arrival.received
    if kind == "diff":
        keeper.diff(book, arrival.text, received)
    elif kind == "ticker":
        keeper.ticker(book, arrival.text, received)
    elif kind == "snapshot":
        keeper.snapshot(book, arrival.text, received, limit=arrival.limit, number=arrival.number)
    elif kind == "snapshot_failed":
        keeper.snapshot_failed(book, arrival.number, arrival.retry_after)
    elif kind == "connected":
        keeper.connected(book)
    elif kind == "disconnected":
        keeper.disconnected(book)
    else:
        keeper.overflow(book)
