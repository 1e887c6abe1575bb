"""The guard of collectors: counters, states, and the last values of a section that fails."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from db.bus import Bus, BusError
from db.postgres import Store
from jobs.observer.collectors.base import BaseCollector, ObserverContext
from jobs.observer.connections import SystemEventWatcher
from jobs.observer.figures.sections import Body

NOW = datetime(2025, 11, 18, tzinfo=UTC)


class Counting(BaseCollector):
    name = "system"
    period = 1.0
    fails = False

    def collect(self, now: datetime) -> Body:
        if self.fails:
            raise ValueError("no value")
        return {"timestamp": now}


def counting(ticks: list[float]) -> Counting:
    # Neither settings nor servers are used by the guard.
    context = ObserverContext(cast(Any, None), cast(Bus, None), cast(Store, None), lambda: NOW, lambda: ticks[0])
    return Counting(context)


def test_collector_collects_once_per_period() -> None:
    ticks = [100.0]
    collector = counting(ticks)
    assert collector.get_status() == "stopped"
    collector.start()
    assert (collector.get_status(), collector.is_ready()) == ("starting", False)
    assert collector.get_current_metrics() == {"timestamp": NOW}
    ticks[0] = 100.9
    collector.get_current_metrics()
    assert collector.get_statistics()["metrics_collected"] == 1
    ticks[0] = 101.0
    collector.get_current_metrics()
    assert collector.get_statistics() == {
        "status": "ready",
        "uptime_seconds": 1.0,
        "metrics_collected": 2,
        "errors": 0,
        "error_rate": 0.0,
    }
    collector.stop()
    assert collector.get_status() == "stopped"


def test_failing_collector_keeps_its_last_values_and_is_counted() -> None:
    ticks = [0.0]
    collector = counting(ticks)
    collector.start()
    collector.fails = True
    assert collector.get_current_metrics() == {}  # it never had values
    ticks[0], collector.fails = 1.0, False
    assert collector.get_current_metrics() == {"timestamp": NOW}
    ticks[0], collector.fails = 2.0, True
    stale = {"timestamp": NOW, "stale": True, "error_code": "internal"}
    assert [collector.get_current_metrics(), collector.get_current_metrics()] == [stale, stale]
    assert (collector.get_status(), collector.is_ready()) == ("error", False)
    assert (collector.get_statistics()["errors"], collector.get_statistics()["error_rate"]) == (2, 2 / 3)


class EventBus:
    """Keeps the published events; fails while it is away."""

    def __init__(self) -> None:
        self.away = False
        self.events: list[Any] = []

    def publish_events(self, events: list[Any]) -> None:
        if self.away:
            raise BusError("away")
        self.events += events


def test_failure_of_a_collector_is_one_event_until_it_recovers() -> None:
    ticks = [0.0]
    collector, bus = counting(ticks), EventBus()
    collector.start()
    watcher = SystemEventWatcher(replace(collector.context, bus=cast(Bus, bus)), cast(Any, {"system": collector}))

    def seconds(number: int, *, fails: bool) -> None:
        collector.fails = fails
        for _ in range(number):
            ticks[0] += 1.0
            collector.get_current_metrics()
            watcher.each_second(NOW + timedelta(seconds=ticks[0]))

    seconds(2, fails=False)
    bus.away = True
    seconds(3, fails=True)
    bus.away = False
    seconds(2, fails=True)
    assert [(each["event_type"], each["component"], each["status"], each["timestamp"]) for each in bus.events] == [
        ("component_error", "system", "error", "2025-11-18T00:00:03.000000Z")
    ]
    seconds(2, fails=False)
    seconds(2, fails=True)
    assert len({each["event_id"] for each in bus.events}) == 2
