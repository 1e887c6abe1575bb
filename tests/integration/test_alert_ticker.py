"""Alerts of the observer on a real store and bus: their rows, their events, outages, restarts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import psycopg2
import pytest

from config.observability.fields import AlertLimits, limits_of
from config.settings import Settings
from db import topics
from db.alert_changes import open_alerts
from db.alerts import Alert, acknowledge, count_firing, resolve_alerts, write_alerts
from db.bus import Bus
from db.postgres import Store
from jobs.observer.alerts.ticker import AlertTicker, limits_of_settings
from jobs.observer.alerts.values import Values
from tests.conftest import Servers, new_database, until
from tests.support.databases import closed_database
from tests.support.servers import as_role
from tests.support.store import select

NOON = datetime(2025, 11, 18, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
QUIET = Values(redis_answers=True)


@pytest.fixture(scope="module")
def database(servers: Servers) -> Iterator[str]:
    with new_database(servers) as url:
        yield url


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    with closing(Store(as_role(database, "tickwire_writer"))) as store:
        with store.transaction() as cursor:
            cursor.execute("DELETE FROM alerts")
        yield store


@pytest.fixture
def limits(settings: Settings) -> dict[str, AlertLimits]:
    return limits_of_settings(settings)


class Ticking:
    """A ticker whose clock moves one second per tick."""

    def __init__(self, store: Store, bus: Bus, limits: dict[str, AlertLimits], begin: int = 0) -> None:
        self.ticker = AlertTicker(store, bus, limits)
        self.second = begin

    def tick(self, values: Values, times: int = 1) -> list[str]:
        """Return `ID-WITHOUT-TIME state` of the changes that were sent."""
        found = []
        for _ in range(times):
            sent = self.ticker.tick(values, NOON + self.second * SECOND)
            found += [f"{each.key}:{each.severity} {each.state}" for each in sent]
            self.second += 1
        return found


def events(bus: Bus, event_type: str = "system_alert") -> list[dict[str, Any]]:
    bodies = [orjson.loads(entry.body) for entry in bus.backwards(topics.OBSERVABILITY_EVENTS)][::-1]
    return [body for body in bodies if body["event_type"] == event_type]


def states(store: Store) -> list[tuple[str, str, str]]:
    return select(store, "SELECT key, severity, state FROM alerts ORDER BY id")


@contextmanager
def closed(database: str, store: Store) -> Iterator[None]:
    """The database accepts no connection, and has none; nor has the store of the test."""
    store.close()
    with closed_database(database):
        yield


def test_life_of_an_alert(store: Store, database: str, bus: Bus, limits: dict[str, AlertLimits]) -> None:
    """`ALERT_DISK=1/2` raises one alert, a person acknowledges it; the defaults resolve it."""
    ticking = Ticking(store, bus, {**limits, "disk": limits_of("1/2")})
    full = Values(disk=40.25, redis_answers=True)
    assert ticking.tick(full, 10) == []
    assert ticking.tick(full, 60) == ["system:disk:critical firing"]
    assert (states(store), ticking.ticker.active) == ([("system:disk", "critical", "firing")], 1)
    ((alert_id,),) = select(store, "SELECT alert_id FROM alerts")
    with closing(Store(as_role(database, "tickwire_reader"))) as reader, reader.transaction() as cursor:
        acknowledge(cursor, alert_id, "ada", "on it", NOON + 65 * SECOND)
    assert ticking.tick(full, 60) == ["system:disk:critical acknowledged"]
    assert ticking.ticker.active == 0

    again = Ticking(store, bus, limits, ticking.second)  # the observer starts again, with the old thresholds
    assert again.tick(full, 30) == []
    assert again.tick(full, 30) == ["system:disk:critical resolved"]
    assert select(store, "SELECT state, acknowledged_by, comment, resolved_at, announced, published IS NOT NULL FROM alerts") == [
        ("resolved", "ada", "on it", NOON + 160 * SECOND, "resolved", True)
    ]

    fired, acknowledged, resolved = events(bus)
    assert fired["details"] == {
        "alert_id": alert_id, "type": "system", "subject": "disk", "severity": "critical", "state": "firing", "active": True,
        "symbol": None, "symbol2": None, "value": 40.25, "previous": None, "threshold": 2, "message": "Disk usage 40.2 % is above 2 %.",
        "time": "2025-11-18T12:00:10.000000Z", "updated_at": "2025-11-18T12:00:10.000000Z", "acknowledged_at": None,
        "acknowledged_by": None, "comment": None, "resolved_at": None,
    }  # fmt: skip
    assert set(fired) == {"event_id", "event_type", "timestamp", "source", "metadata", "seq", "epoch", "alert_type", "severity", "message",
                          "details", "acknowledged"}  # fmt: skip
    assert (fired["alert_type"], fired["severity"], fired["acknowledged"], fired["source"]) == ("critical", "critical", False, "observer")
    assert acknowledged["acknowledged"]
    assert acknowledged["details"]["acknowledged_at"] == "2025-11-18T12:01:05.000000Z"
    assert (resolved["details"]["state"], resolved["details"]["active"]) == ("resolved", False)
    fields = ("metric_name", "metric_value", "threshold", "exceeded")
    assert [tuple(body[name] for name in fields) for body in events(bus, "metric_threshold")] == [
        ("disk", 40.25, 1.0, True), ("disk", 40.25, 2.0, True), ("disk", 40.25, 95.0, False),
    ]  # fmt: skip


def test_changes_of_the_jobs_are_sent_and_counted(store: Store, bus: Bus, limits: dict[str, AlertLimits]) -> None:
    ticking = Ticking(store, bus, limits)
    with store.transaction() as cursor:
        write_alerts(cursor, [Alert("volatility", "EUR_USD", None, "warning", NOON, 0.03, None, 0.02, "above")])
        write_alerts(cursor, [Alert("correlation", "EUR_USD", "GBP_USD", "critical", NOON, 0.1, 0.8, 0.5, "changed")])
    assert ticking.tick(QUIET, 2) == ["volatility:EUR_USD:warning firing", "correlation:EUR_USD|GBP_USD:critical firing"]
    assert ticking.ticker.active == 2
    with store.transaction() as cursor:
        resolve_alerts(cursor, ["volatility:EUR_USD"], NOON + 3 * SECOND)
    assert ticking.tick(QUIET, 60) == ["volatility:EUR_USD:warning resolved"]
    assert ticking.ticker.active == 1
    assert [(body["severity"], body["details"]["symbol2"]) for body in events(bus)] == [
        ("medium", None),
        ("critical", "GBP_USD"),
        ("medium", None),
    ]
    assert select(store, "SELECT count(*) FROM alerts WHERE published IS NULL") == [(2,)], "their own job publishes them"


def test_alert_of_the_database_is_sent_at_once_and_stored_later(
    store: Store, database: str, bus: Bus, limits: dict[str, AlertLimits]
) -> None:
    ticking = Ticking(store, bus, limits)
    ticking.tick(QUIET)
    with closed(database, store):
        assert ticking.tick(QUIET, 12) == ["system:database:critical firing"]
        assert ticking.ticker.active == 1
        assert [body["details"]["message"] for body in events(bus)] == ["PostgreSQL is unreachable."]
    assert ticking.tick(QUIET, 31) == ["system:database:critical firing"], "the bus leaves it out"
    assert states(store) == [("system:database", "critical", "firing")]
    assert ticking.tick(QUIET, 2) == ["system:database:critical resolved"]
    assert [body["details"]["state"] for body in events(bus)] == ["firing", "resolved"]
    assert select(store, "SELECT value, threshold, state FROM alerts") == [(None, None, "resolved")]


def test_episode_during_an_outage_is_stored_with_its_times(store: Store, database: str, bus: Bus, limits: dict[str, AlertLimits]) -> None:
    ticking = Ticking(store, bus, limits)
    high, low = (Values(cpu=value, redis_answers=True, database_answers=True) for value in (95, 10))
    ticking.tick(QUIET)
    with closed(database, store):
        sent = [*ticking.tick(high, 12), *ticking.tick(low, 32)]
        assert sent == ["system:cpu:critical firing", "system:cpu:critical resolved"]
        assert ticking.ticker.active == 0
    ticking.tick(low, 2)
    assert select(store, "SELECT time, resolved_at, state, announced FROM alerts") == [
        (NOON + 11 * SECOND, NOON + 43 * SECOND, "resolved", "resolved")
    ]
    assert len(events(bus)) == 2


def test_hung_database_costs_a_bounded_time_and_its_alert_is_sent(
    store: Store, database: str, bus: Bus, limits: dict[str, AlertLimits], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.observer.alerts.table.LIMIT_SECONDS", 0.2)
    ticking = Ticking(store, bus, limits)
    ticking.tick(QUIET)
    with closing(psycopg2.connect(database)) as connection:
        connection.cursor().execute("LOCK TABLE alerts IN ACCESS EXCLUSIVE MODE")
        assert ticking.tick(QUIET, 12) == ["system:database:critical firing"]
        connection.rollback()
    until(lambda: ticking.tick(QUIET) and states(store), what="the alert stored")
    assert states(store) == [("system:database", "critical", "firing")]
    assert len(events(bus)) == 1


def test_changes_wait_for_the_bus_and_are_sent_in_order(
    store: Store, bus: Bus, limits: dict[str, AlertLimits], clock: Callable[[], datetime]
) -> None:
    with closing(Bus("redis://127.0.0.1:1/0", clock, timeout=0.2)) as away:
        ticking = Ticking(store, away, limits)
        assert ticking.tick(Values(cpu=95), 12) == []
        assert states(store) == [("system:cpu", "critical", "firing"), ("system:redis", "critical", "firing")]
        assert ticking.tick(Values(cpu=10), 32) == []
    again = Ticking(store, bus, limits, ticking.second)
    assert again.tick(Values(cpu=10)) == ["system:cpu:critical firing", "system:cpu:critical resolved", "system:redis:critical firing"]
    assert [body["seq"] for body in events(bus)] == [1, 2, 3]


def test_kill_between_sending_and_noting_sends_no_event_twice(store: Store, bus: Bus, limits: dict[str, AlertLimits]) -> None:
    """The next tick would note it."""
    first = Ticking(store, bus, limits)
    assert first.tick(Values(cpu=85), 11) == ["system:cpu:warning firing"]
    second = Ticking(store, bus, limits, first.second)
    assert second.tick(Values(cpu=85), 20) == ["system:cpu:warning firing"]
    assert len(events(bus)) == 1
    with store.transaction() as cursor:
        assert [each.subject for each in open_alerts(cursor)] == ["cpu"]
        assert count_firing(cursor) == second.ticker.active == 1
