"""A buffer between the reader of the socket and a program's loop: bounded, in order, and what it has to leave out is told."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar, cast

from tickwire_client.messages import CandleUpdate, Gap, Item, Tick

log = logging.getLogger("tickwire_client")

ItemT = TypeVar("ItemT", bound=Item)
ItemFilter = Callable[[Item], bool]
_DROPPABLE = (Tick, CandleUpdate, Gap)  # alerts are never left out


class Stream(Generic[ItemT], Iterator[ItemT]):
    """Iterates over what comes, waiting where nothing has; ends when it or the client is closed.

    Up to `limit` items wait. A program that lags further behind loses the oldest prices and candles; a `Gap` (`slow_reader`) stands where
    they were.
    """

    def __init__(self, accepts: ItemFilter, limit: int, on_gap: Callable[[Gap], None] | None = None) -> None:
        """`on_gap` hears of what was left out even where `accepts` wants no gaps."""
        self._accepts, self._limit, self._on_gap = accepts, limit, on_gap
        self._items: deque[Item] = deque()
        self._left_out: dict[tuple[str, str | None], int | None] = {}  # series -> how many of its messages
        self._changed = threading.Condition()
        self._closed = False
        self._lags = False  # and has been told so; until nothing waits
        self._wake: Callable[[], None] | None = None  # told when there is something after there was nothing

    def put(self, item: Item) -> None:
        """Called by the client, with every item."""
        if not self._accepts(item):
            return
        with self._changed:
            if self._closed:
                return
            self._items.append(item)
            if len(self._items) > self._limit:
                self._leave_out()
            self._changed.notify_all()
            wake = self._wake if len(self._items) == 1 else None
        if wake:
            wake()

    def _leave_out(self) -> None:
        place = next((place for place, item in enumerate(self._items) if isinstance(item, _DROPPABLE)), None)
        if place is None:
            return
        item = cast(Tick | CandleUpdate | Gap, self._items[place])
        del self._items[place]
        if not self._lags:
            self._lags = True
            log.warning("the program is %d messages behind: the oldest are left out", self._limit)
        key = item.instrument, None if isinstance(item, Tick) else item.interval
        before, more = self._left_out.get(key, 0), item.missed if isinstance(item, Gap) else 1
        self._left_out[key] = None if before is None or more is None else before + more

    def take(self) -> ItemT | None:
        """What is there, without waiting."""
        with self._changed:
            return self._take()

    def _take(self) -> ItemT | None:
        while self._left_out:
            (instrument, interval), missed = self._left_out.popitem()
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
        """The next one; None where none comes within `timeout` seconds, or the stream is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._left_out or self._closed, timeout)
            return self._take()

    def __next__(self) -> ItemT:
        item = self.get()
        if item is None:
            raise StopIteration
        return item

    @property
    def closed(self) -> bool:
        return self._closed

    def wake_with(self, wake: Callable[[], None]) -> None:
        """Have `wake` called, in the putting thread, when there is something again or the stream is closed."""
        self._wake = wake

    def close(self) -> None:
        """Take nothing more in; what waits is still given."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._wake:
            self._wake()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
