"""Roll-up service: candles from stored prices and trades.

Every second it builds the marked candles, every minute it completes those that have ended. While a
writer of this process is behind, it yields to it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from config.pacing import Outage
from config.venues import trade_venues
from db.bus import BusError
from db.candles import NEWEST, Update, complete_candles, reopen_candles
from db.postgres import Store, StoreError
from db.rollup import RollupStep, is_mine, roll_up
from db.timestamps import format_time
from jobs.measures.backlog import WriterBacklog

log = logging.getLogger(__name__)

YIELD_SECONDS = 5.0  # from one run to the next while a writer is behind
GRACE = timedelta(seconds=2)  # between a candle's end and its completion, for the writer's last batch
MIN_MARKS_PER_TRANSACTION, MAX_MARKS_PER_TRANSACTION = 100, 20_000
_SHORT_SECONDS, _LONG_SECONDS = 0.25, 1.0  # seconds; a shorter transaction doubles the size, a longer one halves it


class CandleBus(Protocol):
    """The part of the bus that the roll-up needs."""

    def publish_candles(self, candles: list[Update]) -> object:
        """Publish these candles in order. Raises `BusError`."""


@dataclass(slots=True)
class PendingCandles:
    """Changed candles that are not published yet.

    Per instrument and interval it keeps the `NEWEST` candles of a run, each in its last state. So a
    load of history becomes a few messages, and an outage of the bus keeps no more than that.

    Candles that begin after now wait until they begin: the times of prices may be ahead of the
    clock, or the clock was ahead.
    """

    _newest: dict[tuple[str, str], list[str]] = field(default_factory=dict)  # topic -> starts of this run's newest candles
    _pending: dict[tuple[str, str], dict[str, Update]] = field(default_factory=dict)  # topic -> {start: candle}
    _ahead: dict[tuple[str, str], dict[str, Update]] = field(default_factory=dict)  # the same of candles that begin after now

    def begin_run(self) -> None:
        """Begin another run; the unpublished candles of the last one stay."""
        self._newest.clear()

    def add(self, updates: Iterable[Update], now: str) -> None:
        """Add changed candles, and those that have begun by `now`, in contract form."""
        waited = [update for candles in self._ahead.values() for update in candles.values()]
        self._ahead.clear()
        for update in (*waited, *updates):
            topic, start = update[:2], update[2]["start_time"]
            if start > now:
                _keep_newest(self._ahead.setdefault(topic, {}), update)
                continue
            newest = self._newest[topic] = sorted({*self._newest.get(topic, ()), start})[-NEWEST:]
            if start in newest:
                _keep_newest(self._pending.setdefault(topic, {}), update)

    def pending(self) -> list[Update]:
        """All unpublished candles, in the order of time."""
        waiting = [update for candles in self._pending.values() for update in candles.values()]
        return sorted(waiting, key=lambda update: str(update[2]["start_time"]))

    def clear(self) -> None:
        """Forget all candles, because they are published."""
        self._pending.clear()


def _keep_newest(waiting: dict[str, Update], update: Update) -> None:
    """Add a candle to those of its topic; only the `NEWEST` stay."""
    waiting[update[2]["start_time"]] = update
    for old in sorted(waiting)[:-NEWEST]:
        del waiting[old]


class RollUp:
    """Builds marked candles until no mark is left. Call it from one thread.

    Roll-ups of several processes take turns. A candle counts as forming until `grace` after its
    end.
    """

    def __init__(
        self,
        store: Store,
        bus: CandleBus,
        clock: Callable[[], datetime],
        *,
        grace: timedelta = GRACE,
        pause: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
        backlog: WriterBacklog | None = None,
    ) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._grace = grace
        self._pause = pause
        self._monotonic = monotonic
        self._backlog = backlog or WriterBacklog()
        self._most = 1000
        self._pending = PendingCandles()
        self._bus_outage = Outage(log, "candles wait for the bus", monotonic=monotonic)
        # All candles that ended by this minute are complete.
        self._completed_to: datetime | None = None

    def run(self, stop: threading.Event) -> None:
        """Roll up every `pause` seconds until `stop` is set.

        While a writer is behind, a run begins at most `YIELD_SECONDS` after the begin of the
        previous one, or `pause` seconds after its end if that is later.
        """
        outage = Outage(log, "roll-up waits for the store", monotonic=self._monotonic)
        while not stop.is_set():
            begun = self._monotonic()
            try:
                self.run_once(stop)
                outage.recovered()
            except StoreError as error:
                outage.failed(error)
            except Exception:
                log.exception("roll-up failed and is repeated")
            stop.wait(self._pause)
            self._backlog.postpone(stop, begun + YIELD_SECONDS, self._monotonic)

    def run_once(self, stop: threading.Event) -> int:
        """Build the marked candles, complete those that have ended, and publish all changes.

        While a writer is behind, marks are left that were set after the begin of the last
        transaction. Returns the number of marks. Does nothing while another roll-up is active.
        Raises `StoreError`; committed transactions stay.
        """
        self._pending.begin_run()
        total = 0
        while not stop.is_set() and (step := self._step(most := self._most)) is not None:
            total += step.marks
            self._publish(step.updates)
            if not step.marks or (step.marks < most and self._backlog.behind):
                break
        self._publish(self._complete())
        return total

    def _step(self, most: int) -> RollupStep | None:
        """Run one transaction of at most `most` marks; None if another roll-up is active.

        The number of marks of the next one follows from its duration.
        """
        begun = self._monotonic()
        try:
            with self._store.transaction() as cursor:
                step = roll_up(cursor, most, self._clock() - self._grace, trade_venues()) if is_mine(cursor) else None
        except StoreError:
            self._most = max(MIN_MARKS_PER_TRANSACTION, self._most // 4)  # the statement may have reached its timeout
            raise
        seconds = self._monotonic() - begun
        if seconds > _LONG_SECONDS:
            self._most = max(MIN_MARKS_PER_TRANSACTION, self._most // 2)
        elif step is not None and step.marks == most and seconds < _SHORT_SECONDS:
            self._most = min(MAX_MARKS_PER_TRANSACTION, self._most * 2)
        return step

    def _complete(self) -> list[Update]:
        """Complete the candles that have ended, once a minute: candles end on whole minutes.

        At the start, and if the clock was set back, open those that have not ended.
        """
        ended = self._clock() - self._grace
        minute = ended.replace(second=0, microsecond=0)
        if minute == self._completed_to:
            return []
        with self._store.transaction() as cursor:
            if not is_mine(cursor):
                return []
            set_back = self._completed_to is None or minute < self._completed_to
            updates = reopen_candles(cursor, format_time(ended)) if set_back else []
            updates += complete_candles(cursor, format_time(ended))
        self._completed_to = minute
        return updates

    def _publish(self, updates: list[Update]) -> None:
        self._pending.add(updates, format_time(self._clock()))
        if not (candles := self._pending.pending()):
            return
        try:
            self._bus.publish_candles(candles)
        except BusError as error:
            self._bus_outage.failed(error)
            return
        self._bus_outage.recovered()
        self._pending.clear()
