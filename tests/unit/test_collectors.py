"""The guard of collectors: counters, states, and the last values of a section that fails."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

from db.bus import Bus
from db.postgres import Store
from jobs.observer.collectors.base import BaseCollector, ObserverContext
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
