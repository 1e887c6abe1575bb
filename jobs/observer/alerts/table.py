"""Changes into the table `alerts`, and the open alerts out of it, with a bounded wait."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from datetime import datetime

from db.alert_changes import StoredAlert, mark_announced, open_alerts, unannounced_alerts
from db.alerts import SystemAlert, raise_alert, resolve_alerts
from db.postgres import Cursor, Store
from health.probe import DISCONNECTED, CheckFailed, HealthProbe
from jobs.observer.alerts.book import Change

LIMIT_SECONDS = 2.0  # so short that the ticks of an outage are less than `LONGEST_PAUSE` apart


@dataclass(frozen=True, slots=True)
class Exchange:
    """Changes to store, and changes that were sent, to be noted as sent at `now`."""

    changes: Sequence[Change] = ()
    sent: Sequence[StoredAlert] = ()
    now: datetime | None = None


@dataclass(frozen=True, slots=True)
class Exchanged:
    """The result of an exchange: the open alerts of every type, and those to send."""

    given: Exchange
    open: list[StoredAlert]
    waiting: list[StoredAlert]


class AlertTable:
    """The table `alerts`. Call it from one thread.

    A transaction runs in a thread of its own, so that a hung PostgreSQL costs `LIMIT_SECONDS` per
    call. A late transaction goes on: the next call waits for it and returns its result.
    """

    def __init__(self, store: Store) -> None:
        self._store = store.with_limits(pool_max=1, timeout_ms=int(1000 * LIMIT_SECONDS))
        self._given = Exchange()
        self._found: Exchanged | None = None
        self._probe = HealthProbe("alerts", self._run)

    def exchange(self, given: Exchange) -> Exchanged:
        """Store, note and read in one transaction. Raises `CheckFailed`.

        The result may be that of an earlier call: `given` shows it.
        """
        self._given = given
        answer = self._probe.ask()
        done, _ = wait([answer], timeout=LIMIT_SECONDS)
        if not done:
            raise CheckFailed(DISCONNECTED, f"no answer within {LIMIT_SECONDS:g} s")
        if (failure := answer.result()) is not None:
            raise failure
        if self._found is None:
            raise CheckFailed(DISCONNECTED, "no result")
        return self._found

    def close(self) -> None:
        """Close the database connection."""
        self._store.close()

    def _run(self) -> None:
        given = self._given
        with self._store.transaction() as cursor:
            _store(cursor, given.changes)
            if given.now is not None:
                for alert in given.sent:
                    mark_announced(cursor, alert, given.now)
            opened, waiting = open_alerts(cursor), unannounced_alerts(cursor)
        self._found = Exchanged(given, opened, waiting)


def _store(cursor: Cursor, changes: Iterable[Change]) -> None:
    for change in changes:
        if isinstance(change, SystemAlert):
            raise_alert(cursor, change)
        else:
            resolve_alerts(cursor, [change.key], change.time)
