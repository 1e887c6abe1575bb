"""Joins history and live prices to one series: each price from `start` on, once.

1. Join the live stream.
2. Read the latest price over REST: the cut.
3. Wait until the store has the cut. The store receives messages in order, so it then has all
   earlier ones.
4. Yield the stored prices up to the cut, in the order of time.
5. Yield the live prices after the cut, in the order of the bus. If `seq` shows a gap, read the
   missing prices from the store in the same way.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import datetime, timedelta

from tickwire_client import parse
from tickwire_client.errors import ConnectionFailed, Refused, TickwireError
from tickwire_client.history import History
from tickwire_client.messages import Gap, Item, Position, Tick

log = logging.getLogger("tickwire_client")

# The time of a late price may lie so far outside the times of its neighbours.
_TIME_MARGIN = timedelta(minutes=5)
_POLL_SECONDS = 0.2


class Stitch:
    """The state of one series. Methods that read REST block.

    `settle` is the time in seconds to wait for the store or for REST.
    """

    def __init__(self, history: History, instrument: str, start: datetime, settle: float) -> None:
        self._history, self._instrument, self._start, self._settle = history, instrument, start, settle
        self._cut: Tick | None = None  # the latest price after the live stream was joined
        self._last: Tick | None = None  # the last price; a gap after it shows in `seq`
        self._given: dict[str, int] = {}  # epoch -> highest seq that was yielded or skipped

    def past(self) -> Iterator[Tick | Gap]:
        """The stored prices up to the cut. The live stream MUST be joined before."""
        self._cut = self._last = self._latest()
        complete = self._cut is None or self._await_stored(self._cut)
        for row in self._history.ticks(self._instrument, start=self._start):
            tick = parse.stored_tick(row)
            if not self._after_cut(tick):
                self._note(tick)
                yield tick
        if self._cut is not None and self._cut.epoch is not None and self._cut.seq is not None:
            if not complete:
                stored = self._given.get(self._cut.epoch)
                yield Gap(self._instrument, self._cut.seq - stored if stored else None, "not_stored")
            self._given[self._cut.epoch] = self._cut.seq

    def needs_store(self, item: Item) -> bool:
        """Whether `live` reads from REST for this item."""
        return isinstance(item, Tick) and self._tick_before_gap(item) is not None

    def live(self, item: Item) -> Iterator[Tick | Gap]:
        """The items that a live item adds. A `Gap` adds none: the store fills it."""
        if not isinstance(item, Tick):
            return
        if item.position is None:
            if item.time >= self._start and not item.snapshot:
                yield item
            return
        if self._given.get(item.position.epoch, 0) >= item.position.seq:
            return
        last = self._tick_before_gap(item)
        if last is not None:
            yield from self._fill(last, item)
        self._note(item)
        self._last = item
        if item.time >= self._start:
            yield item

    def _note(self, tick: Tick) -> None:
        if tick.epoch is not None and tick.seq is not None:
            self._given[tick.epoch] = max(tick.seq, self._given.get(tick.epoch, 0))

    def _after_cut(self, tick: Tick) -> bool:
        cut, at = self._cut, tick.position
        return cut is not None and at is not None and cut.epoch == at.epoch and cut.seq is not None and at.seq > cut.seq

    def _tick_before_gap(self, tick: Tick) -> Tick | None:
        """The last tick, if prices are missing between it and this one."""
        at, last = tick.position, self._last.position if self._last else None
        if last is None or at is None or self._given.get(at.epoch, 0) >= at.seq:
            return None
        return None if at == Position(last.epoch, last.seq + 1) else self._last

    def _fill(self, last: Tick, tick: Tick) -> Iterator[Tick | Gap]:
        after, before = last.position, tick.position
        assert after is not None  # noqa: S101 - `_tick_before_gap` checked both
        assert before is not None  # noqa: S101
        self._await_stored(tick)
        rows = self._between(after, before, min(last.time, tick.time) - _TIME_MARGIN, max(last.time, tick.time) + _TIME_MARGIN)
        found = [row for row in rows if row.time >= self._start]
        yield from found
        missed = before.seq - after.seq - 1 - len(rows) if after.epoch == before.epoch else None
        if missed != 0:
            log.warning("%s: %s prices missing in the history", self._instrument, "possibly some" if missed is None else missed)
            yield Gap(self._instrument, missed, "not_stored")

    def _between(self, after: Position, before: Position, start: datetime, end: datetime) -> list[Tick]:
        """The stored prices between two positions, in the order of the bus."""
        try:
            ticks = [parse.stored_tick(row) for row in self._history.ticks(self._instrument, start=start, end=end)]
        except TickwireError as error:
            log.warning("%s: cannot read the history: %s", self._instrument, error)
            return []
        given = after.seq if after.epoch == before.epoch else self._given.get(before.epoch, 0)
        old = [at for at in ticks if at.epoch == after.epoch != before.epoch and _seq(at) > after.seq]
        new = [at for at in ticks if at.epoch == before.epoch and given < _seq(at) < before.seq]
        return sorted(old, key=_seq) + sorted(new, key=_seq)

    def _latest(self) -> Tick | None:
        """The latest price of the instrument on the bus; None if there is none."""
        try:
            body = self._history.rest.get("/price/latest", symbol=self._instrument)
        except Refused as error:
            if error.code == "no_price":
                return None
            raise
        price = {"bid": body["bid"], "ask": body["ask"], "mid": body["price"], "time": body["timestamp"]}
        return parse.stored_tick(
            {"symbol": self._instrument, **price, "received": body["received"], "seq": body["seq"], "epoch": body["epoch"]}
        )

    def _await_stored(self, tick: Tick) -> bool:
        """Wait until the store has this price; return False after `settle` seconds."""
        deadline = time.monotonic() + self._settle
        while not self._stored(tick):
            if time.monotonic() > deadline:
                log.warning("%s: %s not stored within %s s", self._instrument, tick.position, self._settle)
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def _stored(self, tick: Tick) -> bool:
        try:
            rows = self._history.ticks(self._instrument, start=tick.time, end=tick.time + timedelta(microseconds=1))
            return any((row["epoch"], row["seq"]) == (tick.epoch, tick.seq) for row in rows)
        except (ConnectionFailed, Refused) as error:
            log.info("no answer from the history: %s", error)
            return False


def _seq(tick: Tick) -> int:
    return tick.seq or 0
