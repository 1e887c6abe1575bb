"""History, then live, as one series: every stored price from `start` on and every one after it, once each.

The live stream is joined first. Then REST says which message is the last (the cut). What is not after it comes from the store, which is
waited for until it has the cut itself: it takes messages in their order, so it has all before it. What is after it comes live. Whatever
is found missing later is read from the store in the same way. History is in the order of time, live in that of the bus.
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

_TIME_MARGIN = timedelta(minutes=5)  # how far a late price's time may lie outside its neighbours'
_POLL_SECONDS = 0.2  # seconds


class Stitch:
    """Where one series stands. All that reads REST blocks; `settle` is how many seconds it waits for the store or for REST."""

    def __init__(self, history: History, instrument: str, start: datetime, settle: float) -> None:
        self._history, self._instrument, self._start, self._settle = history, instrument, start, settle
        self._cut: Tick | None = None  # the last message when the live stream had been joined
        self._last: Tick | None = None  # the last message of those behind which a hole would show
        self._given: dict[str, int] = {}  # epoch -> highest seq of the prices given or passed over

    def past(self) -> Iterator[Tick | Gap]:
        """What the store has, up to the cut. The live stream has to be joined before."""
        self._cut = self._last = self._latest()
        complete = self._cut is None or self._await_stored(self._cut)
        for row in self._history.ticks(self._instrument, start=self._start):
            tick = parse.stored_tick(row)
            if not self._behind_the_cut(tick):
                self._note(tick)
                yield tick
        if self._cut is not None and self._cut.epoch is not None and self._cut.seq is not None:
            if not complete:
                stored = self._given.get(self._cut.epoch)
                yield Gap(self._instrument, self._cut.seq - stored if stored else None, "not_stored")
            self._given[self._cut.epoch] = self._cut.seq

    def needs_store(self, item: Item) -> bool:
        """Whether `live` will read from REST for this one."""
        return isinstance(item, Tick) and self._hole(item) is not None

    def live(self, item: Item) -> Iterator[Tick | Gap]:
        """What an item of the live stream adds. Its gaps add nothing: a hole shows in the numbers, and the store fills it."""
        if not isinstance(item, Tick):
            return
        if item.position is None:
            if item.time >= self._start and not item.snapshot:
                yield item
            return
        if self._given.get(item.position.epoch, 0) >= item.position.seq:
            return
        last = self._hole(item)
        if last is not None:
            yield from self._fill(last, item)
        self._note(item)
        self._last = item
        if item.time >= self._start:
            yield item

    def _note(self, tick: Tick) -> None:
        if tick.epoch is not None and tick.seq is not None:
            self._given[tick.epoch] = max(tick.seq, self._given.get(tick.epoch, 0))

    def _behind_the_cut(self, tick: Tick) -> bool:
        cut, at = self._cut, tick.position
        return cut is not None and at is not None and cut.epoch == at.epoch and cut.seq is not None and at.seq > cut.seq

    def _hole(self, tick: Tick) -> Tick | None:
        """The tick behind which some are missing before this one."""
        at, last = tick.position, self._last.position if self._last else None
        if last is None or at is None or self._given.get(at.epoch, 0) >= at.seq:
            return None
        return None if at == Position(last.epoch, last.seq + 1) else self._last

    def _fill(self, last: Tick, tick: Tick) -> Iterator[Tick | Gap]:
        after, before = last.position, tick.position
        assert after is not None  # noqa: S101 - both are from `_hole`
        assert before is not None  # noqa: S101
        self._await_stored(tick)
        rows = self._between(after, before, min(last.time, tick.time) - _TIME_MARGIN, max(last.time, tick.time) + _TIME_MARGIN)
        found = [row for row in rows if row.time >= self._start]
        yield from found
        missed = before.seq - after.seq - 1 - len(rows) if after.epoch == before.epoch else None
        if missed != 0:
            log.warning("%s: %s prices are not in the history", self._instrument, "perhaps some" if missed is None else missed)
            yield Gap(self._instrument, missed, "not_stored")

    def _between(self, after: Position, before: Position, start: datetime, end: datetime) -> list[Tick]:
        """The stored prices between two messages, in the order of the bus."""
        try:
            ticks = [parse.stored_tick(row) for row in self._history.ticks(self._instrument, start=start, end=end)]
        except TickwireError as error:
            log.warning("%s: the history cannot be read: %s", self._instrument, error)
            return []
        given = after.seq if after.epoch == before.epoch else self._given.get(before.epoch, 0)
        old = [at for at in ticks if at.epoch == after.epoch != before.epoch and _seq(at) > after.seq]
        new = [at for at in ticks if at.epoch == before.epoch and given < _seq(at) < before.seq]
        return sorted(old, key=_seq) + sorted(new, key=_seq)

    def _latest(self) -> Tick | None:
        """The last message of the instrument that the bus has accepted."""
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
        """Wait until the store has this very price; False after `settle` seconds."""
        deadline = time.monotonic() + self._settle
        while not self._stored(tick):
            if time.monotonic() > deadline:
                log.warning("%s: the store does not have %s within %s s", self._instrument, tick.position, self._settle)
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def _stored(self, tick: Tick) -> bool:
        try:
            rows = self._history.ticks(self._instrument, start=tick.time, end=tick.time + timedelta(microseconds=1))
            return any((row["epoch"], row["seq"]) == (tick.epoch, tick.seq) for row in rows)
        except (ConnectionFailed, Refused) as error:
            log.info("the history does not answer: %s", error)
            return False


def _seq(tick: Tick) -> int:
    return tick.seq or 0
