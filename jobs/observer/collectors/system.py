"""The collector of the section `system`: the machine, our processes, Redis and PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from config.pacing import StopSignal
from db import topics
from db.alerts import count_firing
from db.bus import RedisLoad
from db.metrics.system import SystemRow, insert_system
from db.postgres import Cursor
from db.server_load import DatabaseLoad, database_load
from health.checks import check_store
from health.measures.resources import MachineResources
from health.reports import Process, ProcessTable
from health.system.condition import system_health
from health.system.state import SystemState, number
from health.timing import DEFAULT
from health.verdict import Verdict, judge, with_ages
from health.watch import BUS, DATABASE
from jobs.observer.collectors.base import BaseCollector, ObserverContext
from jobs.observer.collectors.remote import LIMIT_SECONDS, Circuit, ConnectionEvent, ConnectionEvents, RemoteRead
from jobs.observer.figures.models import ProcessMetric, SystemMetric
from jobs.observer.figures.sections import Body, system_section

READ_SECONDS = 1.0  # between two rounds of reads
_CIRCUITS: tuple[Circuit, ...] = ("closed", "half_open", "open")  # from the best to the worst


@dataclass(frozen=True, slots=True)
class RedisFigures:
    """The load of Redis, and the messages in its streams that no process has stored."""

    load: RedisLoad
    unstored: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class PostgresFigures:
    """The load of PostgreSQL, and the number of firing alerts."""

    load: DatabaseLoad
    commits_per_sec: float | None
    firing: int


class SystemCollector(BaseCollector):
    """Collects once per second. A loop does the remote reads, so that `collect` never waits.

    A figure whose server cannot be read is null.
    """

    name: ClassVar[str] = "system"
    period: ClassVar[float] = READ_SECONDS

    def __init__(self, context: ObserverContext, limit: float = LIMIT_SECONDS) -> None:
        super().__init__(context)
        self._bus = context.bus.with_timeout(limit)
        self._store = check_store(context.store, limit)
        self._machine = MachineResources(context.settings.hub_data_dir)
        self._events = ConnectionEvents(context.clock)
        self.redis = RemoteRead("redis", self._read_redis, self._events, limit=limit)
        self.postgres = RemoteRead("postgres", self._read_postgres, self._events, limit=limit)
        self.sources = RemoteRead("sources", self._read_registry, self._events, limit=limit)
        self._table = ProcessTable()
        self._commits: tuple[float, int] | None = None  # (monotonic time, commits) of the last read
        self._registry_from = float("-inf")  # monotonic time from which processes can be down
        self._active_alerts = 0
        self._metric: SystemMetric | None = None

    def loops(self) -> Mapping[str, Callable[[StopSignal], None]]:
        """The remote reads."""
        return {"observer-system-reads": self._run}

    def stop(self) -> None:
        """Close the connections of the reads."""
        super().stop()
        self._bus.close()
        self._store.close()

    def take_events(self) -> list[ConnectionEvent]:
        """Remove and return the events of the circuit breakers, the oldest first."""
        return self._events.take()

    def get_statistics(self) -> Mapping[str, Any]:
        """The counters, with the worst `circuit` and the one of each read in `circuits`."""
        circuits = {read.name: read.circuit for read in self._reads()}
        return {**super().get_statistics(), "circuit": max(circuits.values(), key=_CIRCUITS.index), "circuits": circuits}

    def collect(self, now: datetime) -> Body:
        """The body of the section."""
        processes = self.sources.value or []
        state = SystemState(now, processes, self._verdict(processes, now), self._machine())
        postgres = self.postgres.value
        if postgres is not None:
            self._active_alerts = postgres.firing
        unknown = self.sources.value is None and self.sources.failure is None  # before the first read
        health = None if unknown else health_of(state)
        self._metric = _metric(state, self.redis.value, postgres, self._active_alerts, health)
        return system_section(now, self._metric)

    def store_second(self, cursor: Cursor, second: datetime) -> None:
        """Insert the last figures as the row of this second."""
        if self._metric is not None and self.is_ready():
            insert_system(cursor, [row_of(second, self._metric)])

    # the reads, in their loop

    def _reads(self) -> tuple[RemoteRead[Any], ...]:
        return self.redis, self.postgres, self.sources

    def _run(self, stop: StopSignal) -> None:
        while not stop.is_set():
            for read in self._reads():
                read.refresh()
            stop.wait(READ_SECONDS)

    def _read_redis(self) -> RedisFigures:
        unstored = {"prices": self._bus.unstored(topics.PRICES), "trades": self._bus.unstored(topics.TRADES)}
        return RedisFigures(self._bus.server_load(), {**unstored, "reports": self._bus.unprocessed_reports()})

    def _read_postgres(self) -> PostgresFigures:
        with self._store.transaction() as cursor:
            load, firing = database_load(cursor), count_firing(cursor)
        now, before = time.monotonic(), self._commits
        self._commits = now, load.commits
        rate = None
        if before is not None and now > before[0] and load.commits >= before[1]:
            rate = round((load.commits - before[1]) / (now - before[0]), 1)
        return PostgresFigures(load, rate, firing)

    def _read_registry(self) -> list[Process]:
        now_ms = int(self.context.clock().timestamp() * 1000)
        self._table.update(self._bus.processes(now_ms), now_ms)
        return self._table.expected()

    def _verdict(self, processes: Sequence[Process], now: datetime) -> Verdict:
        """Judge the processes; after an outage of Redis they have a moment to report."""
        own = {part: read.failure for part, read in ((BUS, self.redis), (DATABASE, self.postgres)) if read.failure is not None}
        monotonic = self.context.monotonic()
        if self.sources.value is None:
            self._registry_from = monotonic + DEFAULT.settle
        return judge(processes, now, own=own, bus_works=self.sources.value is not None, settled=monotonic >= self._registry_from)


def health_of(state: SystemState) -> str:
    """`healthy`, `degraded` or `unhealthy`, by the rule of `GET /api/system/health`."""
    return str(system_health(state, [])["status"])


def _metric(
    state: SystemState, redis: RedisFigures | None, postgres: PostgresFigures | None, alerts: int, health: str | None
) -> SystemMetric:
    machine = state.machine
    processes = _processes(state)
    began = [each.report.started for each in state.processes if each.report is not None and not state.is_down(each)]
    unstored: Mapping[str, int | None] = redis.unstored if redis else dict.fromkeys(("prices", "trades", "reports"))
    redis_load = redis.load if redis else RedisLoad(None, None)
    connections = postgres.load.connections if postgres else None
    commits = postgres.commits_per_sec if postgres else None
    return SystemMetric(
        cpu_percent=machine.cpu_percent,
        memory_percent=machine.memory_percent,
        disk_usage_percent=machine.disk_usage_percent,
        uptime=round((state.now - min(began)).total_seconds(), 3) if began else None,
        health=health,
        active_alerts=alerts,
        network_bytes_sent=machine.network_bytes_sent,
        network_bytes_recv=machine.network_bytes_recv,
        process_count=len(processes),
        thread_count=sum(each.threads or 0 for each in processes.values()),
        processes=processes,
        redis={"used_memory_bytes": redis_load.used_memory_bytes, "ops_per_sec": redis_load.ops_per_sec},
        postgres={"connections": connections, "commits_per_sec": commits},
        writer_unstored=unstored,
        sources=with_ages(state.verdict.sources, state.now),
    )


def _processes(state: SystemState) -> dict[str, ProcessMetric]:
    """Name -> figures of the living processes, as they reported them."""
    found = {}
    for process in state.processes:
        report = process.report
        if report is not None and not state.is_down(process):
            resources = report.part("resources")
            figures = {name: number(resources.get(name)) for name in ("cpu_percent", "rss_bytes", "threads")}
            pid = number(report.body.get("pid"))
            rss, threads = figures["rss_bytes"], figures["threads"]
            found[process.name] = ProcessMetric(
                int(pid or 0), figures["cpu_percent"], None if rss is None else int(rss), None if threads is None else int(threads)
            )
    return found


def row_of(second: datetime, metric: SystemMetric) -> SystemRow:
    """The row of one second, with one sample of each percentage that is known."""

    def samples(value: float | None) -> tuple[float | None, float | None, int]:
        return value, value, 0 if value is None else 1

    return SystemRow(
        second,
        *samples(metric.cpu_percent),
        *samples(metric.memory_percent),
        *samples(metric.disk_usage_percent),
        health=metric.health,
        active_alerts=metric.active_alerts,
        uptime_seconds=metric.uptime,
    )
