"""The collector of the section `system`, on servers of this module that its tests stop."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import psycopg2
import pytest
import redis as redis_client

from db import migrate, topics
from db.bus import Bus
from db.postgres import Store
from db.timestamps import parse_time, utc_now
from jobs.observer.collectors.base import Collector, ObserverContext
from jobs.observer.collectors.remote import ConnectionEvents, RemoteRead
from jobs.observer.collectors.system import SystemCollector
from jobs.observer.connections import SystemEventWatcher
from jobs.observer.figures.sections import render
from ops import embedded
from tests.conftest import settings_for, until
from tests.support.processes import Breakable, stopped
from tests.support.registry import put_report
from tests.support.servers import add_operator, operator_url

QUICK_LIMIT, QUICK_RESET = 0.3, 0.05


@dataclass(frozen=True, slots=True)
class Own:
    """The servers of this module, and a context on them."""

    redis: Breakable
    postgres: Breakable
    context: ObserverContext
    raw: redis_client.Redis


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    folder = tmp_path_factory.mktemp("own")
    with ExitStack() as stack:
        server = embedded.redis(folder)
        add_operator(server, folder)
        redis = stack.enter_context(Breakable(server, folder))
        postgres = stack.enter_context(Breakable(embedded.postgres(folder), folder))
        migrate.apply(postgres.url)
        settings = settings_for(postgres.url, redis.url, folder)
        bus, store = Bus(redis.url, utc_now), Store(postgres.url)
        raw = redis_client.Redis.from_url(operator_url(redis.url), protocol=2)
        yield Own(redis, postgres, ObserverContext(settings, bus, store, utc_now), raw)
        raw.close()
        bus.close()
        store.close()


@pytest.fixture
def collector(own: Own) -> Iterator[SystemCollector]:
    own.raw.flushall()
    found = SystemCollector(own.context, QUICK_LIMIT)
    found.start()
    stop = threading.Event()
    threads = [threading.Thread(target=loop, args=(stop,), daemon=True) for loop in found.loops().values()]
    for thread in threads:
        thread.start()
    yield found
    stop.set()
    for thread in threads:
        thread.join(60)
    found.stop()


def section(collector: Collector) -> dict[str, Any]:
    """The section as clients receive it."""
    found: dict[str, Any] = orjson.loads(render(collector.get_current_metrics()).numbers)
    return found


def report_everything(bus: Bus) -> None:
    """Report one process of each role; all act and nothing fails."""
    resources = {"cpu_percent": 3.1, "rss_bytes": 48_234_496, "threads": 4, "fds": 61}
    put_report(bus, "hub:5001@a1", resources=resources, hub={"clients": 3})
    put_report(bus, "rest:5000@a1", resources=resources)
    source = {"state": "live", "since": "2025-11-18T12:00:00.000000Z", "ticks": 7}
    writer = {"unstored": {"price_updates": 5, "trades": 2}, "oldest_age_seconds": 0.1, "parked": 0, "last_parked": None}
    put_report(bus, "jobs@a1", sources={"synthetic": source}, writer=writer, resources=resources)
    put_report(bus, "observer@a1", resources=resources)


def test_section_has_every_field(own: Own, collector: SystemCollector) -> None:
    report_everything(own.context.bus)
    own.context.bus.open_reports()
    own.raw.xadd(topics.stream_key(topics.REPORTS), {"a": "b"})

    def read() -> dict[str, Any] | None:
        found = section(collector)
        well = found.get("processes") and found["postgres"]["commits_per_sec"] is not None and found["cpu_percent"] is not None
        return found if well else None

    found = until(read)
    assert isinstance(found, dict)
    assert found["processes"].keys() == {"hub:5001@a1", "rest:5000@a1", "jobs@a1", "observer@a1"}
    assert found["processes"]["hub:5001@a1"] == {"pid": 1, "cpu_percent": 3.1, "rss_bytes": 48_234_496, "threads": 4}
    assert (found["process_count"], found["thread_count"], found["active_alerts"]) == (4, 16, 0)
    assert found["redis"]["used_memory_bytes"] == pytest.approx(own.raw.info()["used_memory"], rel=0.2)
    assert found["postgres"]["connections"] == len(backends(own))
    assert found["writer_unstored"] == {"prices": 0, "trades": 0, "reports": 1}
    assert found["sources"]["synthetic"]["state"] == "live"
    assert found["health"] in ("healthy", "degraded", "unhealthy")
    assert all(0 <= found[name] <= 100 for name in ("cpu_percent", "memory_percent", "disk_usage_percent"))
    assert collector.get_statistics()["circuits"] == {"redis": "closed", "postgres": "closed", "sources": "closed"}
    assert collector.take_events() == []


def backends(own: Own) -> list[Any]:
    """The sessions of the database, without that of this question."""
    with psycopg2.connect(own.postgres.url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
        return cursor.fetchall()


def test_row_of_a_second_is_stored(own: Own, collector: SystemCollector) -> None:
    report_everything(own.context.bus)
    until(lambda: section(collector)["health"] and section(collector)["cpu_percent"] is not None)
    found = section(collector)
    second = datetime.now(UTC).replace(microsecond=0)
    with own.context.store.transaction() as cursor:
        collector.store_second(cursor, second)
        cursor.execute(
            "SELECT cpu_percent_sum, cpu_percent_samples, health, active_alerts FROM metrics_system_1s WHERE time = %s", (second,)
        )
        assert cursor.fetchall() == [(found["cpu_percent"], 1, found["health"], 0)]


# the circuit breakers


def breaker_of(name: str, collector: SystemCollector, events: ConnectionEvents) -> RemoteRead[Any]:
    """The read of the collector behind a breaker with a short pause."""
    read = {"redis": collector._read_redis, "postgres": collector._read_postgres, "sources": collector._read_registry}[name]
    return RemoteRead(name, read, events, limit=QUICK_LIMIT, reset=QUICK_RESET)


@pytest.mark.parametrize(("name", "hangs"), [("redis", False), ("sources", True), ("postgres", False), ("postgres", True)])
def test_circuit_of_a_stopped_server_opens_and_closes_again(own: Own, name: str, hangs: bool) -> None:
    """A killed server refuses connections; a suspended one does not answer."""
    collector, events = SystemCollector(own.context, QUICK_LIMIT), ConnectionEvents(utc_now)
    read: RemoteRead[Any] = breaker_of(name, collector, events)
    server = own.postgres if name == "postgres" else own.redis
    until(lambda: read.refresh() is not None)
    with ExitStack() as stack:
        if hangs:
            stack.enter_context(stopped(server.pid))
            if name == "postgres":
                for (pid,) in _sessions(collector):
                    stack.enter_context(stopped(pid))
        else:
            stack.enter_context(server.down())
        until(lambda: read.refresh() is None)  # a session of a killed server may answer once more
        for _ in range(3):
            read.refresh()
            assert (read.circuit, read.value) == ("closed", None)
        read.refresh()
        assert (read.circuit, read.value) == ("open", None)
        [lost] = events.take()
        assert (lost.event_type, lost.component, lost.status) == ("connection_lost", name, "open")
        assert lost.details["reason"] == read.failure
        until(lambda: read.refresh() is None and read.circuit == "open")
        assert events.take() == []  # an attempt in vain is no news
    until(lambda: read.refresh() is not None and read.circuit == "closed")
    [restored] = events.take()
    assert (restored.event_type, restored.component, restored.status) == ("connection_restored", name, "closed")
    assert read.value is not None
    collector.stop()


def _sessions(collector: SystemCollector) -> list[tuple[int]]:
    """The server processes of the collector's connections: they answer without the postmaster."""
    return [(connection.get_backend_pid(),) for connection in collector._store._free]


def test_loss_of_redis_is_published_when_it_is_back(own: Own) -> None:
    collector = SystemCollector(own.context, QUICK_LIMIT)
    watcher = SystemEventWatcher(own.context, {"system": collector})
    with own.redis.down():
        while collector.redis.circuit == "closed":
            collector.redis.refresh()
        lost_at = utc_now()
        watcher.each_second(lost_at)
    assert own.raw.xlen(topics.stream_key(topics.OBSERVABILITY_EVENTS)) == 0

    def published() -> list[dict[str, Any]]:
        watcher.each_second(utc_now())
        entries: Any = own.raw.xrange(topics.stream_key(topics.OBSERVABILITY_EVENTS))
        return [orjson.loads(fields[b"body"]) for _, fields in entries]

    until(published)
    [event] = published()
    assert (event["event_type"], event["component"], event["status"]) == ("connection_lost", "redis", "open")
    assert parse_time(event["timestamp"]) <= lost_at
    watcher.each_second(utc_now())
    assert len(published()) == 1  # once
    collector.stop()
