"""Prices and trades → candles: every second what was stored since, and every minute the candles that have ended."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from config.pacing import Outage
from db.bus import BusError
from db.candles import NEWEST, Update, complete_candles
from db.postgres import Store, StoreError
from db.rollup import Step, is_mine, roll_up
from db.timestamps import format_time

log = logging.getLogger(__name__)

GRACE = timedelta(seconds=2)  # after its end a candle waits for the writer's last batch
MIN_MARKS_PER_TRANSACTION, MAX_MARKS_PER_TRANSACTION = 100, 20_000  # marks in one transaction
_SHORT_SECONDS, _LONG_SECONDS = 0.25, 1.0  # seconds: transactions are made larger below, smaller above


class CandleBus(Protocol):
    """What the roll-up asks of `db.bus.Bus`."""

    def publish_candles(self, candles: list[Update]) -> object:
        """Publish these candles in order; `BusError`."""


@dataclass(slots=True)
class PendingCandles:
    """What is to be told of candles: of each instrument and interval the newest `NEWEST` of a run, the last state of each.

    A load of history is thus a few messages, and where the bus is away, what waits for it is no more than that.
    """

    _newest: dict[tuple[str, str], list[str]] = field(default_factory=dict)  # topic -> starts of this run's newest candles
    _pending: dict[tuple[str, str], dict[str, Update]] = field(default_factory=dict)  # topic -> {start: candle}

    def begin_run(self) -> None:
        """From now on another run's candles come; what was not told of the last one stays to be told."""
        self._newest.clear()

    def add(self, updates: Iterable[Update]) -> None:
        """Note candles that have changed."""
        for update in updates:
            topic, start = update[:2], update[2]["start_time"]
            newest = self._newest[topic] = sorted({*self._newest.get(topic, ()), start})[-NEWEST:]
            if start in newest:
                waiting = self._pending.setdefault(topic, {})
                waiting[start] = update
                for old in sorted(waiting)[:-NEWEST]:
                    del waiting[old]

    def pending(self) -> list[Update]:
        """What the bus does not know yet, in the order of time."""
        waiting = [update for candles in self._pending.values() for update in candles.values()]
        return sorted(waiting, key=lambda update: str(update[2]["start_time"]))

    def clear(self) -> None:
        """The bus has it all."""
        self._pending.clear()


class RollUp:
    """Builds what is marked until nothing is, again and again. One thread runs it; in another process another may, they take turns.

    `grace` is how long after its end a candle is still called forming.
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
    ) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._grace = grace
        self._pause = pause
        self._monotonic = monotonic
        self._most = 1000
        self._pending = PendingCandles()
        self._completed_to: datetime | None = None  # the minute up to which candles that ended are known to be complete

    def run(self, stop: threading.Event) -> None:
        """Roll up every `pause` seconds until `stop` is set."""
        outage = Outage(log, "roll-up waits for the store", monotonic=self._monotonic)
        while not stop.is_set():
            try:
                self.run_once(stop)
                outage.recovered()
            except StoreError as error:
                outage.failed(error)
            except Exception:
                log.exception("roll-up failed, tries again")
            stop.wait(self._pause)

    def run_once(self, stop: threading.Event) -> int:
        """Build what is marked, until nothing is or `stop` is set; call complete what has ended; tell the bus. How many marks that were.

        Where another roll-up is at work, nothing is done. Raises `StoreError`; what is committed by then stays.
        """
        self._pending.begin_run()
        total = 0
        while not stop.is_set() and (step := self._step()) is not None:
            total += step.marks
            self._publish(step.updates)
            if not step.marks:
                break
        self._publish(self._complete())
        return total

    def _step(self) -> Step | None:
        """One transaction; None where another roll-up is at work. Its size follows from how long the last ones took."""
        begun = self._monotonic()
        try:
            with self._store.transaction() as cursor:
                step = roll_up(cursor, self._most, self._clock() - self._grace) if is_mine(cursor) else None
        except StoreError:
            self._most = max(MIN_MARKS_PER_TRANSACTION, self._most // 4)  # it may have been too much for one statement
            raise
        seconds = self._monotonic() - begun
        if seconds > _LONG_SECONDS:
            self._most = max(MIN_MARKS_PER_TRANSACTION, self._most // 2)
        elif step is not None and step.marks == self._most and seconds < _SHORT_SECONDS:
            self._most = min(MAX_MARKS_PER_TRANSACTION, self._most * 2)
        return step

    def _complete(self) -> list[Update]:
        """Candles end on whole minutes: once in each is enough."""
        ended = self._clock() - self._grace
        minute = ended.replace(second=0, microsecond=0)
        if minute == self._completed_to:
            return []
        with self._store.transaction() as cursor:
            if not is_mine(cursor):
                return []
            updates = complete_candles(cursor, format_time(ended))
        self._completed_to = minute
        return updates

    def _publish(self, updates: list[Update]) -> None:
        self._pending.add(updates)
        if not (candles := self._pending.pending()):
            return
        try:
            self._bus.publish_candles(candles)
        except BusError as error:
            log.warning("candles are not published this time: %s", error)
            return
        self._pending.clear()
