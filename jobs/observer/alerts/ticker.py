"""Alerts of the observer: judged once per second, stored, and sent to clients.

The table `alerts` is the truth: each tick stores its changes and reads the open alerts again, so
that a new observer continues with them. While PostgreSQL is away, changes are sent to clients at
once and stored later. Changes of other processes and of people are sent too.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from config.observability.fields import AlertLimits
from config.pacing import Outage
from config.settings import Settings
from db.alert_changes import StoredAlert, changes_of, mark_announced, open_alerts, unannounced_alerts
from db.alerts import SystemAlert, raise_alert, resolve_alerts
from db.bus import Bus, BusError
from db.postgres import Cursor, RowError, Store, StoreError
from jobs.observer.alerts.book import AlertBook, Change
from jobs.observer.alerts.events import alert_event, threshold_event
from jobs.observer.alerts.rules import judge
from jobs.observer.alerts.values import Values

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
STORE_TIMEOUT_MS = 2000


def limits_of_settings(settings: Settings) -> dict[str, AlertLimits]:
    """Rule -> its thresholds."""
    return {
        "cpu": settings.alert_cpu,
        "memory": settings.alert_memory,
        "disk": settings.alert_disk,
        "writer_lag": settings.alert_writer_lag,
        "observer_lag": settings.alert_observer_lag,
        "strategy_silent": settings.alert_strategy_silent,
        "reject_rate": settings.alert_reject_rate,
    }


class AlertTicker:
    """Judges values and keeps the alerts. Call `tick` from one thread, about once per second."""

    def __init__(
        self, store: Store, bus: Bus, limits: Mapping[str, AlertLimits], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._bus = bus
        self._limits = limits
        self._book = AlertBook()
        self._begun = False  # the open alerts were read
        self._unstored: list[Change] = []  # in their order
        self._unsent: list[StoredAlert] = []  # changes that neither the store nor a client has
        self._store_outage = Outage(log, "alerts cannot be stored", monotonic=monotonic)
        self._bus_outage = Outage(log, "changes of alerts wait for the bus", monotonic=monotonic)

    @property
    def active(self) -> int:
        """`active_alerts`: firing alerts of every type, with those that are not stored yet.

        Any thread may read it.
        """
        return self._book.firing

    def close(self) -> None:
        """Close the database connection. Call it after the last tick."""
        self._store.close()

    def tick(self, values: Values, now: datetime) -> list[StoredAlert]:
        """Judge the values; return the changes of alerts that were sent to clients.

        Raises neither `StoreError` nor `BusError`: later ticks repeat what failed.
        """
        if not self._begun:
            self._exchange()
        readings = judge(self._completed(values), self._limits, self._book.subjects())
        crossings = self._book.crossings(readings)
        changes = self._book.judge(readings, now)
        self._unstored += changes
        self._unsent += [alert for change in changes for alert in _changed(change)]
        sent = self._send_all(self._exchange(), now)
        for each in crossings:
            event = threshold_event(each, now)
            if not self._send(event):
                break
        return sent

    def _completed(self, values: Values) -> Values:
        """The values, with the own findings about the servers if the collectors have none."""
        if values.database_answers is None:
            values = replace(values, database_answers=not self._store_outage.lasts)
        if values.redis_answers is None:
            values = replace(values, redis_answers=self._bus.answers())
        return values

    def _exchange(self) -> list[StoredAlert]:
        """Store the changes and read the open alerts; return those to send.

        While the store is away these are the own changes, which have no row yet.
        """
        try:
            with self._store.transaction() as cursor:
                _store(cursor, self._unstored)
                opened, waiting = open_alerts(cursor), unannounced_alerts(cursor)
        except StoreError as error:
            self._store_outage.failed(error)
            return self._unsent
        except RowError as error:  # the next tick judges the values again
            self._store_outage.failed(error, traceback=True)
            self._unstored, self._unsent = [], []
            return []
        self._store_outage.recovered()
        self._begun = True
        self._book.open = opened
        self._unstored, self._unsent = [], []
        return waiting

    def _send_all(self, waiting: Sequence[StoredAlert], now: datetime) -> list[StoredAlert]:
        """Send the changes of these alerts in their order, and note them in the store; return them.

        A change that is sent again has the batch id of the first time, and is left out by the bus.
        """
        sent: list[StoredAlert] = []
        done = 0
        for alert in waiting:
            changes = changes_of(alert)
            if not all(self._send(alert_event(each), f"alert:{each.alert_id}:{each.state}/1") for each in changes):
                break
            sent += changes
            done += 1
        self._book.note(sent)
        if waiting is self._unsent:  # without a row
            self._unsent = self._unsent[done:]
        elif sent:
            self._note(sent, now)
        return sent

    def _send(self, body: Mapping[str, Any], batch_id: str | None = None) -> bool:
        """Publish an event; return False if the bus does not take it."""
        try:
            self._bus.publish_events([body], batch_id)
        except BusError as error:
            self._bus_outage.failed(error)
            return False
        self._bus_outage.recovered()
        return True

    def _note(self, sent: Sequence[StoredAlert], now: datetime) -> None:
        try:
            with self._store.transaction() as cursor:
                for alert in sent:
                    mark_announced(cursor, alert, now)
        except StoreError as error:  # they are sent again
            self._store_outage.failed(error)


def keep_alerts(ticker: AlertTicker, read_values: Callable[[], Values], clock: Callable[[], datetime], stop: threading.Event) -> None:
    """Call the ticker once per second until `stop` is set.

    It needs a thread of its own: a tick waits for PostgreSQL and Redis.
    """
    failure = Outage(log, "alert rules fail", monotonic=time.monotonic)
    while not stop.wait(TICK_SECONDS):
        try:
            ticker.tick(read_values(), clock())
            failure.recovered()
        except Exception as error:  # noqa: BLE001 - the outage logs it
            failure.failed(error, traceback=True)


def _changed(change: Change) -> Sequence[StoredAlert]:
    return [StoredAlert.of(change)] if isinstance(change, SystemAlert) else change.alerts


def _store(cursor: Cursor, changes: Iterable[Change]) -> None:
    for change in changes:
        if isinstance(change, SystemAlert):
            raise_alert(cursor, change)
        else:
            resolve_alerts(cursor, [change.key], change.time)
