"""Alerts are stored with their values first, and then published once, after retries if needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from config.settings import Settings
from db import topics
from db.alerts import Alert, write_alerts
from db.bus import Bus, BusError
from db.postgres import Store
from jobs.figures.alert_rules import AlertRule
from jobs.figures.alerts import Seen, keep_publishing, pairs_of, publish_alerts, raise_alerts
from jobs.figures.hourly import hourly_job
from jobs.runtime.context import JobContext
from jobs.runtime.runs import JobFailed, run_once
from jobs.scheduler import TIMED
from tests.conftest import until
from tests.support.store import HOUR, candle, put_candles, select

NOON = datetime(2025, 11, 18, 12, tzinfo=UTC)
RULE = AlertRule(0.02, 0.04)
EURO = ("EUR_USD", "")
FIELDS = "type, symbol, symbol2, severity, time, value, previous, threshold, message"


@pytest.fixture
def away(clock: Callable[[], datetime]) -> Iterator[Bus]:
    """A bus without a server."""
    bus = Bus("redis://127.0.0.1:1/0", clock, timeout=0.2)
    yield bus
    bus.close()


def judged(store: Store, value: float, hour: int = 0, *, subject: tuple[str, str] = EURO, previous: float | None = None) -> int:
    kind = "correlation" if subject[1] else "volatility"
    with store.transaction() as cursor:
        return raise_alerts(
            cursor,
            kind,
            {subject: Seen(value, value, previous)},
            lambda _: RULE,
            NOON + hour * HOUR,
            lambda subject, seen, severity, threshold: f"{subject[0]} {seen.value} {severity} {threshold}",
        )


def published(bus: Bus, channel: str = topics.VOLATILITY_ALERTS) -> list[dict[str, Any]]:
    return [orjson.loads(entry.body) for entry in bus.backwards(channel)][::-1]


def waiting(store: Store) -> int:
    return int(select(store, "SELECT count(*) FROM alerts WHERE published IS NULL")[0][0])


def test_alert_is_stored_with_its_values(store: Store) -> None:
    assert judged(store, 0.03) == 1
    assert judged(store, 0.05, 1) == 1
    assert judged(store, -0.6, 2, subject=("EUR_USD", "GBP_USD"), previous=0.1) == 0
    assert judged(store, 0.6, 3, subject=("EUR_USD", "GBP_USD"), previous=0.1) == 1
    assert select(store, f"SELECT {FIELDS} FROM alerts ORDER BY id") == [  # noqa: S608
        ("volatility", "EUR_USD", None, "warning", NOON, 0.03, None, 0.02, "EUR_USD 0.03 warning 0.02"),
        ("volatility", "EUR_USD", None, "critical", NOON + HOUR, 0.05, None, 0.04, "EUR_USD 0.05 critical 0.04"),
        ("correlation", "EUR_USD", "GBP_USD", "critical", NOON + 3 * HOUR, 0.6, 0.1, 0.04, "EUR_USD 0.6 critical 0.04"),
    ]


def test_rule_continues_from_its_stored_state(store: Store) -> None:
    new = [judged(store, value, hour) for hour, value in enumerate([0.03, 0.019, 0.03, 0.01, 0.03, 0.05, 0.05])]
    assert new == [1, 0, 0, 0, 0, 1, 0]
    assert select(store, "SELECT symbol, severity, alerted, told, as_of FROM alert_episodes") == [
        ("EUR_USD", "critical", NOON + 5 * HOUR, "critical", NOON + 6 * HOUR)
    ]


@pytest.mark.parametrize("hour", [0, -1])
def test_time_that_was_judged_is_not_judged_again(store: Store, hour: int) -> None:
    judged(store, 0.01)
    assert judged(store, 0.05, hour) == 0
    assert select(store, "SELECT count(*) FROM alerts") == [(0,)]


def test_subjects_are_judged_independently(store: Store) -> None:
    assert judged(store, 0.03) == 1
    assert judged(store, 0.03, subject=("GBP_USD", "")) == 1
    assert judged(store, 0.03, subject=("EUR_USD", "GBP_USD")) == 1


def test_stored_alerts_are_published_in_order_and_once(store: Store, bus: Bus, clock: Callable[[], datetime]) -> None:
    for hour, value in enumerate([0.03, 0.05, 0.01]):
        judged(store, value, hour)
    judged(store, 0.5, 3, subject=("EUR_USD", "GBP_USD"), previous=0.25)
    assert publish_alerts(store, bus, clock) == 3
    assert publish_alerts(store, bus, clock) == 0
    assert [(each["instrument"], each["volatility"], each["severity"], each["threshold"], each["seq"]) for each in published(bus)] == [
        ("EUR_USD", 0.03, "warning", 0.02, 1),
        ("EUR_USD", 0.05, "critical", 0.04, 2),
    ]
    (change,) = published(bus, topics.CORRELATION_ALERTS)
    assert (change["correlation"], change["previous_correlation"], change["change"]) == (0.5, 0.25, 0.25)
    assert waiting(store) == 0


def test_alert_is_published_after_an_outage_of_the_bus(store: Store, bus: Bus, away: Bus, clock: Callable[[], datetime]) -> None:
    judged(store, 0.03)
    with pytest.raises(BusError):
        publish_alerts(store, away, clock)
    assert waiting(store) == 1
    stop = threading.Event()
    keeper = threading.Thread(target=keep_publishing, args=(store, bus, clock, stop))
    keeper.start()
    until(lambda: waiting(store) == 0, what="the alert published")
    stop.set()
    keeper.join(60)
    assert len(published(bus)) == 1


def test_kill_between_publishing_and_marking_does_not_publish_twice(store: Store, bus: Bus, clock: Callable[[], datetime]) -> None:
    class DeathError(BaseException):
        """Raised between publishing and marking."""

    def die() -> datetime:
        raise DeathError

    judged(store, 0.03)
    judged(store, 0.05, 1)
    for expected in (1, 1):
        with pytest.raises(DeathError):
            publish_alerts(store, bus, die)
        assert len(published(bus)) == expected
    assert waiting(store) == 2
    assert publish_alerts(store, bus, clock) == 2
    assert [each["seq"] for each in published(bus)] == [1, 2]


def test_concurrent_publishers_publish_each_alert_once(store: Store, bus: Bus, clock: Callable[[], datetime]) -> None:
    with store.transaction() as cursor:
        moments = [NOON + number * HOUR for number in range(100)]
        write_alerts(cursor, [Alert("volatility", "EUR_USD", None, "warning", moment, 0.03, None, 0.02, "") for moment in moments])
    threads = [threading.Thread(target=publish_alerts, args=(store, bus, clock)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [each["seq"] for each in published(bus)] == list(range(1, 101))
    assert waiting(store) == 0


def test_equal_alert_of_another_database_is_published(store: Store, bus: Bus, clock: Callable[[], datetime]) -> None:
    """The ids of another database start at 1 too, for other alerts."""
    judged(store, 0.03)
    publish_alerts(store, bus, clock)
    with store.transaction() as cursor:
        cursor.execute("TRUNCATE alerts, alert_episodes RESTART IDENTITY")
    judged(store, 0.03, 1)
    publish_alerts(store, bus, clock)
    assert len(published(bus)) == 2


def test_run_without_the_bus_stores_everything_and_fails(
    settings: Settings, store: Store, bus: Bus, away: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is retried; its alerts are published once, by the retry or later."""
    monkeypatch.setattr("jobs.figures.hour_end.CANDLE_WAIT_SECONDS", 0.3)  # no writer stores the published prices
    hours = [NOON - number * HOUR for number in range(1, 30)]
    put_candles(
        store, [candle("EUR_USD", start, (close, "1.2", "1.0", close)) for start, close in zip(hours, ["1.1", "1.0"] * 15, strict=False)]
    )
    work = JobContext(settings, away, store, lambda: NOON + timedelta(seconds=10))
    with pytest.raises(JobFailed, match="BusError"):
        run_once(replace(TIMED["hourly_job"], retries=1, retry_seconds=0.01), work, NOON)
    assert select(store, "SELECT outcome, count(*) FROM job_runs GROUP BY outcome") == [("failed", 2)]
    assert select(store, "SELECT count(*) FROM volatility WHERE time = %s", NOON) == [(7,)]
    assert waiting(store) == 1
    hourly_job(replace(work, bus=bus), NOON)
    hourly_job(replace(work, bus=bus), NOON)
    assert [each["severity"] for each in published(bus)] == ["critical"]


def test_pairs_are_unique_and_in_alphabetical_order() -> None:
    assert pairs_of(["b", "a", "c"]) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert pairs_of(["a"]) == []
