"""Heartbeats without a bus: status, alerts and lines of the log; states of sources."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db.bus import BusError
from db.scenarios.status import BookState
from health.verdict import judge, source_failure
from jobs.books.heartbeat import Figures, HeartbeatLoop
from jobs.books.process.source_states import SourceStates
from tests.unit.test_observer_health import process

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Silent:
    """A bus that takes heartbeats, or none; it knows no processes."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.is_away = False

    def processes(self, now_ms: int) -> list[Any]:
        return []

    def publish_heartbeat(self, body: dict[str, Any]) -> None:
        if self.is_away:
            raise BusError("away")
        self.bodies.append(body)


class Beats:
    """A loop whose figures and clock are set by hand."""

    def __init__(self) -> None:
        self.now, self.bus, self.figures = 0.0, Silent(), Figures("stable-mode", queue_max=2_000)
        bus: Any = self.bus
        self.loop = HeartbeatLoop(
            bus,
            lambda: self.figures,
            interval=1.0,
            started=-5.0,
            clock=lambda: NOW + timedelta(seconds=self.now),
            monotonic=lambda: self.now,
        )

    def beat(self, seconds: int = 1, **figures: Any) -> None:
        self.figures = Figures("stable-mode", **{"queue_max": 2_000, "books": {"BTCUSDT": BookState("live")}, **figures})
        for _ in range(seconds):
            self.loop.beat()
            self.now += 1


def test_heartbeat_without_any_book_is_healthy() -> None:
    beats = Beats()
    beats.beat(books=None)
    [body] = beats.bus.bodies
    assert (body["status"], body["books"], body["uptime_seconds"], body["queue_max"]) == ("healthy", {}, 5.0, 2_000)
    assert (body["last_heartbeat"], body["memory_usage_mb"], body["active_clients"]) == ("2026-01-01T00:00:00.000000Z", 0.0, 0)


def test_alert_is_logged_when_the_status_becomes_worse(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    beats = Beats()
    beats.beat(2)
    beats.beat(2, queue_size=1_001, lag=2.0, processing_ms=0.5)
    beats.beat(2, queue_size=1_801)
    beats.beat(2, queue_size=1_001)
    alerts = [vars(record) for record in caplog.records if record.message == "alert"]
    assert [(each["status"], each["code"], each["severity"], each["queue_size"]) for each in alerts] == [
        ("degraded", "queue,lag", "warning", 1_001),
        ("unhealthy", "queue", "critical", 1_801),
    ]
    assert alerts[0]["processing_ms"] == 0.5


def test_short_peak_between_two_heartbeats_decides_on_the_status(caplog: pytest.LogCaptureFixture) -> None:
    beats = Beats()
    beats.beat(1)
    beats.beat(1, queue_size=12, peak=1_900)
    beats.beat(1, queue_size=12, peak=1_100)
    beats.beat(1, queue_size=12, peak=12)
    assert [(each["status"], each["current_queue_size"]) for each in beats.bus.bodies] == [
        ("healthy", 0), ("unhealthy", 12), ("degraded", 12), ("healthy", 12),
    ]  # fmt: skip
    assert [vars(record)["code"] for record in caplog.records if record.message == "alert"] == ["queue"]


def test_line_of_ten_seconds_has_the_largest_queue(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    beats = Beats()
    beats.beat(4)
    beats.beat(1, peak=900)
    beats.beat(10)
    lines = [vars(record) for record in caplog.records if record.message == "heartbeat"]
    assert [each["queue_size"] for each in lines] == [0, 900]


def test_line_comes_each_ten_seconds_although_heartbeats_are_not_exact(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    beats = Beats()
    for number in range(31):
        beats.now = number - 0.01 * (number % 3)
        beats.beat()
    assert len([record for record in caplog.records if record.message == "heartbeat"]) == 4


def test_bus_that_is_away_ends_no_heartbeat(caplog: pytest.LogCaptureFixture) -> None:
    beats = Beats()
    beats.bus.is_away = True
    beats.beat(3)
    beats.bus.is_away = False
    beats.beat(1)
    assert len(beats.bus.bodies) == 1
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == ["heartbeats are not published"]


def test_source_that_is_down_fails_and_keeps_its_begin() -> None:
    now = NOW
    states = SourceStates(lambda: now)
    assert states.report("scenario", "connecting", 0)["last_tick"] is None
    now += timedelta(seconds=5)
    down = states.report("scenario", "down", 0, "no such file")
    assert (down["since"], down["failing_since"]) == ("2026-01-01T00:00:05.000000Z",) * 2
    assert source_failure(down, now) == "down: no such file"
    now += timedelta(seconds=5)
    live = states.report("scenario", "live", 3)
    now += timedelta(seconds=5)
    assert (live["last_tick"], live["failing_since"]) == ("2026-01-01T00:00:10.000000Z", None)
    assert states.report("scenario", "live", 3) == live


def test_processes_of_the_books_that_are_all_away_fail_health() -> None:
    jobs = process("jobs@a1", 1.0, "jobs")
    one, other = process("books@a1", 60.0, "books"), process("books.2@a1", 1.0, "books")
    assert judge([jobs, one], NOW, own={}).failing == {"books": "no books process reports"}
    assert judge([jobs, one, other], NOW, own={}).failing == {}
