"""Alerts of the observer: judged once per second, stored, and sent to clients.

The table `alerts` is the truth: each tick stores its changes and reads the open alerts again, so
that a new observer continues with them. While PostgreSQL is away, changes are sent to clients at
once and stored later. Changes of other processes and of people are sent too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from config.observability.fields import AlertLimits
from config.pacing import Outage
from config.settings import Settings
from db.alert_changes import StoredAlert, changes_of
from db.alerts import SystemAlert
from db.bus import Bus, BusError
from db.postgres import Store
from health.probe import IMPAIRED, CheckFailed
from jobs.observer.alerts.book import AlertBook, Change
from jobs.observer.alerts.events import alert_event, threshold_event
from jobs.observer.alerts.rules import judge
from jobs.observer.alerts.table import AlertTable, Exchange
from jobs.observer.alerts.values import Values

log = logging.getLogger(__name__)


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
        self._table = AlertTable(store)
        self._bus = bus
        self._limits = limits
        self._book = AlertBook()
        self._begun = False  # the open alerts were read
        self._unstored: list[Change] = []  # in their order
        self._unsent: list[StoredAlert] = []  # the same changes, without those that clients got
        self._unnoted: list[StoredAlert] = []  # changes that clients got
        self._store_outage = Outage(log, "alerts cannot be stored", monotonic=monotonic)
        self._bus_outage = Outage(log, "changes of alerts wait for the bus", monotonic=monotonic)

    @property
    def active(self) -> int:
        """`active_alerts`: firing alerts of every type, with those that are not stored yet.

        Any thread may read it.
        """
        return self._book.firing

    def firing_by_type(self) -> Mapping[tuple[str, str], int]:
        """(type, severity) -> number of the alerts that `active` counts. Any thread may call it."""
        return self._book.firing_by_type()

    def close(self) -> None:
        """Close the database connection. Call it after the last tick."""
        self._table.close()

    def tick(self, values: Values, now: datetime) -> list[StoredAlert]:
        """Judge the values; return the changes of alerts that were sent to clients.

        Raises neither `StoreError` nor `BusError`: later ticks repeat what failed.
        """
        if not self._begun:
            self._exchange(now)
        readings = judge(self._completed(values), self._limits, self._book.subjects())
        crossings = self._book.crossings(readings)
        changes = self._book.judge(readings, now)
        self._unstored += changes
        self._unsent += [alert for change in changes for alert in _changed(change)]
        sent = self._send_all(self._exchange(now))
        for each in crossings:
            if not self._send(threshold_event(each, now)):
                break
        return sent

    def _completed(self, values: Values) -> Values:
        """The values, with the own findings about the servers if the collectors have none."""
        if values.database_answers is None:
            values = replace(values, database_answers=not self._store_outage.lasts)
        if values.redis_answers is None:
            values = replace(values, redis_answers=self._bus.answers())
        return values

    def _exchange(self, now: datetime) -> list[StoredAlert]:
        """Store the changes and read the open alerts; return those to send.

        While the store is away these are the own changes, which have no row yet.
        """
        try:
            found = self._table.exchange(Exchange(tuple(self._unstored), tuple(self._unnoted), now))
        except CheckFailed as error:
            self._store_outage.failed(error)
            if error.state == IMPAIRED:  # it can never be stored; the next ticks judge the values again
                self._unstored.clear()
            return self._unsent
        self._store_outage.recovered()
        del self._unstored[: len(found.given.changes)]
        del self._unnoted[: len(found.given.sent)]
        if self._unstored or self._unnoted:  # a late result, of an earlier call
            return self._unsent
        self._begun = True
        self._book.open = found.open
        self._unsent = []
        return found.waiting

    def _send_all(self, waiting: Sequence[StoredAlert]) -> list[StoredAlert]:
        """Send the changes of these alerts in their order; the next exchange notes them.

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
        else:
            self._unnoted += sent
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


def _changed(change: Change) -> Sequence[StoredAlert]:
    return [StoredAlert.of(change)] if isinstance(change, SystemAlert) else change.alerts
