"""Bounded buffer between the socket reader and the loop of a program.

It keeps the order and reports dropped items as gaps.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar, cast

from tickwire_client.book_messages import Book, ServerHeartbeat
from tickwire_client.errors import ConnectionFailed
from tickwire_client.messages import CandleUpdate, Gap, Item, Tick

log = logging.getLogger("tickwire_client")

ItemT = TypeVar("ItemT", bound=Item)
ItemFilter = Callable[[Item], bool]
_REPLACED = (Book, ServerHeartbeat)  # the next one contains it, so a drop is no gap
_DROPPABLE = (Tick, CandleUpdate, Gap, *_REPLACED)  # alerts are never dropped


class Stream(Generic[ItemT], Iterator[ItemT]):
    """Iterator over received items. It waits for the next item and ends on close.

    It raises `ConnectionFailed` after the last item, if the hub has refused the client for good.

    Up to `limit` items wait. If the program lags further behind, the oldest prices and candles are
    dropped, and a `Gap` (`slow_reader`) replaces them. Dropped books and heartbeats need no gap.
    """

    def __init__(self, accepts: ItemFilter, limit: int, on_gap: Callable[[Gap], None] | None = None) -> None:
        """`on_gap` is called with each gap, also if `accepts` rejects gaps."""
        self._accepts, self._limit, self._on_gap = accepts, limit, on_gap
        self._items: deque[Item] = deque()
        # (instrument, interval) -> number of dropped messages; None means unknown
        self._dropped: dict[tuple[str, str | None], int | None] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._error: ConnectionFailed | None = None
        self._lags = False  # set and logged at the first drop, reset when the buffer is empty
        self._wake: Callable[[], None] | None = None  # called when the empty buffer receives an item

    def put(self, item: Item) -> None:
        """Add an item, if `accepts` accepts it. The client calls this with every item."""
        if not self._accepts(item):
            return
        with self._changed:
            if self._closed:
                return
            self._items.append(item)
            if len(self._items) > self._limit:
                self._drop_oldest()
            self._changed.notify_all()
            wake = self._wake if len(self._items) == 1 else None
        if wake:
            wake()

    def _drop_oldest(self) -> None:
        index = next((index for index, item in enumerate(self._items) if isinstance(item, _DROPPABLE)), None)
        if index is None:
            return
        item = self._items[index]
        del self._items[index]
        if not self._lags:
            self._lags = True
            log.warning("the program is %d messages behind: dropping the oldest", self._limit)
        if isinstance(item, _REPLACED):
            return
        item = cast(Tick | CandleUpdate | Gap, item)
        key = item.instrument, None if isinstance(item, Tick) else item.interval
        before, more = self._dropped.get(key, 0), item.missed if isinstance(item, Gap) else 1
        self._dropped[key] = None if before is None or more is None else before + more

    def take(self) -> ItemT | None:
        """The next item without waiting; None if there is none."""
        with self._changed:
            return self._take()

    def _take(self) -> ItemT | None:
        while self._dropped:
            (instrument, interval), missed = self._dropped.popitem()
            gap = Gap(instrument, missed, "slow_reader", interval)
            if self._on_gap:
                self._on_gap(gap)
            if self._accepts(gap):
                return cast(ItemT, gap)
        if not self._items:
            self._lags = False
            return None
        return cast(ItemT, self._items.popleft())

    def get(self, timeout: float | None = None) -> ItemT | None:
        """Wait for the next item; None after `timeout` seconds, or if the stream is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._dropped or self._closed, timeout)
            return self._take()

    def __next__(self) -> ItemT:
        item = self.get()
        if item is None:
            raise self.error or StopIteration
        return item

    @property
    def error(self) -> ConnectionFailed | None:
        """A new exception with the reason for which the client closed the stream, or None."""
        return copy.copy(self._error)

    @property
    def closed(self) -> bool:
        return self._closed

    def wake_with(self, wake: Callable[[], None]) -> None:
        """Call `wake`, in the thread of `put` or `close`, when the empty buffer fills or closes."""
        self._wake = wake

    def close(self, error: ConnectionFailed | None = None) -> None:
        """Stop receiving. Buffered items can still be read; then the iterator raises `error`."""
        with self._changed:
            self._error = error if not self._closed else self._error
            self._closed = True
            self._changed.notify_all()
        if self._wake:
            self._wake()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
