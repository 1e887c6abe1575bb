"""The loop of snapshots on a real bus: a collector that raises, an absent one, missed deadlines."""

from __future__ import annotations

import threading
import time
from datetime import datetime
from typing import Any, cast

import orjson

from config.settings import Settings
from db.bus import Bus
from db.postgres import Store
from db.timestamps import utc_now
from jobs.observer.collectors.base import BaseCollector, Collector, ObserverContext
from jobs.observer.figures.sections import Body
from jobs.observer.loop import SnapshotLoop
from tests.conftest import Servers, settings_for, until


class Broken(BaseCollector):
    name = "system"
    fails = False

    def collect(self, now: datetime) -> Body:
        if self.fails:
            raise RuntimeError("no value")
        return {"cpu_percent": 1.5}


class Slow(BaseCollector):
    """A collector whose second collection takes longer than three deadlines."""

    name = "execution"
    calls = 0

    def collect(self, now: datetime) -> Body:
        self.calls += 1
        if self.calls == 2:
            time.sleep(0.35)
        return {"orders_today": self.calls}


def loop_of(bus: Bus, settings: Settings, *collectors: BaseCollector) -> SnapshotLoop:
    context = ObserverContext(settings, bus, cast(Store, None), utc_now)
    for collector in collectors:
        collector.context = context
        collector.start()
    return SnapshotLoop(context, cast(Any, {collector.name: collector for collector in collectors}))


def context_of(bus: Bus, settings: Settings) -> ObserverContext:
    return ObserverContext(settings, bus, cast(Store, None), utc_now)


def test_section_of_a_collector_that_raises_keeps_its_last_values(servers: Servers, bus: Bus, tmp_path: Any) -> None:
    settings = settings_for(servers.database_url, servers.redis_url, tmp_path)
    broken = Broken(context_of(bus, settings))
    loop = loop_of(bus, settings, broken)
    bodies = []
    for fails in (False, True, False):
        broken.fails = fails
        loop.tick()
        snapshot = bus.latest_snapshot()
        assert snapshot is not None
        bodies.append(orjson.loads(snapshot.numbers["system"]))
        assert (snapshot.numbers["market_data"], snapshot.strings["strategy"]) == ("{}", "{}")  # absent collectors
    good = {"cpu_percent": 1.5}
    assert bodies == [good, {**good, "stale": True, "error_code": "internal"}, good]
    assert isinstance(broken, Collector)


def test_missed_deadlines_are_skipped(servers: Servers, bus: Bus, tmp_path: Any) -> None:
    settings = settings_for(servers.database_url, servers.redis_url, tmp_path)
    slow = Slow(context_of(bus, settings))
    loop = loop_of(bus, settings, slow)
    stop = threading.Event()
    thread = threading.Thread(target=loop.run, args=(stop,))
    thread.start()
    try:
        until(lambda: loop.published >= 5, 20, "five snapshots")
    finally:
        stop.set()
        thread.join(60)
    assert loop.skipped >= 3
    assert slow.calls == loop.published  # none was queued
