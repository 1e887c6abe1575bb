"""The answers of `/api/system`, from reports of processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from db.timestamps import format_time
from health.measures.resources import MachineFigures
from health.measures.stages import PUBLISH, SOCKETS, Stages
from health.reports import Process, read_report
from health.system.components import components, ready_collectors, stats, websocket_connections
from health.system.condition import ACTING, ROLES, system_health
from health.system.performance import performance
from health.system.state import SystemState
from health.verdict import judge

NOW = datetime(2025, 11, 18, 12, tzinfo=UTC)
CALM = MachineFigures(12.5, 40.0, 55.0, 1, 2)
NAMES = {"hub": "hub:5001@a1", "rest": "rest:5000@a1", "jobs": "jobs@a1", "books": "books@a1", "observer": "observer@a1"}


def process(role: str, name: str = "", age: float = 0.5, **parts: Any) -> Process:
    """A process with a report of `age` seconds ago."""
    name = name or NAMES[role]
    at = NOW - timedelta(seconds=age)
    own = {"name": name, "role": role, "version": "1", "pid": 1, "host": "a1", "started": format_time(at), "at": format_time(at)}
    return Process(name, age, False, read_report(name, orjson.dumps({**own, "acting": True, "failing": {}, **parts})))


def all_processes(**parts: Mapping[str, Any]) -> list[Process]:
    """One process of each role, with further parts by role."""
    return [process(role, **parts.get(role, {})) for role in ROLES]


def state(processes: Sequence[Process], machine: MachineFigures = CALM, own: Mapping[str, str] | None = None) -> SystemState:
    return SystemState(NOW, processes, judge(processes, NOW, own=own or {}), machine)


# health


def test_system_with_all_processes_is_healthy() -> None:
    jobs = {"sources": {"synthetic": {"state": "live"}}}
    answer = system_health(state(all_processes(jobs=jobs)), [{"alert_id": "x"}])
    assert answer["status"] == "healthy"
    assert answer["components"].keys() == {"cpu", "memory", "disk", "hub", "rest", "jobs", "books", "observer", "postgres", "redis"}
    assert {each["status"] for each in answer["components"].values()} == {"healthy"}
    assert answer["components"]["cpu"] == {"status": "healthy", "usage_percent": 12.5}
    assert answer["resources"] == {"cpu": 12.5, "memory": 40.0, "disk": 55.0}
    assert answer["connections"] == {"market_data": "connected", "execution": "connected", "database": "connected"}
    assert answer["alerts"] == [{"alert_id": "x"}]


@pytest.mark.parametrize("part", ["cpu_percent", "memory_percent"])
@pytest.mark.parametrize(
    ("percent", "status"), [(80.0, "healthy"), (80.1, "degraded"), (90.0, "degraded"), (90.1, "unhealthy"), (None, "healthy")]
)
def test_usage_of_the_machine_decides(part: str, percent: float | None, status: str) -> None:
    values: dict[str, Any] = {part: percent}
    answer = system_health(state(all_processes(), replace(CALM, **values)), [])
    assert (answer["status"], answer["components"][part.removesuffix("_percent")]["status"]) == (status, status)


@pytest.mark.parametrize("role", ROLES)
def test_process_that_is_away_makes_the_system_unhealthy(role: str) -> None:
    silent = [replace(each, age_seconds=15.5) if each.role == role else each for each in all_processes()]
    answer = system_health(state(silent), [])
    assert (answer["status"], answer["components"][role]["status"]) == ("unhealthy", "unhealthy")
    assert answer["components"][role]["down"] == [NAMES[role]]
    missing = [each for each in all_processes() if each.role != role]
    assert system_health(state(missing), [])["status"] == ("healthy" if role == "rest" else "unhealthy")  # REST answers


@pytest.mark.parametrize("role", ACTING)
def test_standby_alone_is_not_enough(role: str) -> None:
    answer = system_health(state(all_processes(**{role: {"acting": False}})), [])
    assert answer["components"][role]["status"] == "unhealthy"


@pytest.mark.parametrize(("part", "name"), [("database", "postgres"), ("bus", "redis")])
def test_server_that_fails_makes_the_system_unhealthy(part: str, name: str) -> None:
    answer = system_health(state(all_processes(), own={part: "no answer"}), [])
    assert (answer["status"], answer["components"][name]) == ("unhealthy", {"status": "unhealthy", "reason": "no answer"})


def test_failing_part_of_a_process_degrades_it() -> None:
    answer = system_health(state(all_processes(jobs={"failing": {"job:retention": "failed"}})), [])
    assert answer["components"]["jobs"] == {
        "status": "degraded", "processes": 1, "down": [], "failing": {"job:retention": "failed"},
    }  # fmt: skip
    assert answer["status"] == "degraded"


# performance


def test_performance_is_that_of_all_hubs() -> None:
    one, two, jobs = Stages(), Stages(), Stages()
    one.record(SOCKETS, 0.010)
    one.count("relayed", 1)
    for _ in range(99):
        two.record(SOCKETS, 0.002)
    jobs.record(PUBLISH, 0.001)
    writer = {"unstored": {"price_updates": 5, "trades": 2}}
    processes = [
        process("hub", metrics=one.part()),
        process("hub", "hub:5002@a1", metrics=two.part()),
        process("jobs", metrics=jobs.part(), writer=writer),
        process("observer", writer={"unstored": {"reports": 3}}),
    ]
    answer = performance(state(processes))
    assert (answer["latency_p50"], answer["latency_p99"]) == (2.0, 2.0)
    assert answer["stages"][SOCKETS]["count"] == 100
    assert answer["stages"][PUBLISH] == {"count": 1, "p50_ms": 1.0, "p95_ms": 1.0, "p99_ms": 1.0, "per_second": None}
    assert answer["throughput_per_sec"] == one.part()["rates"]["relayed"]
    assert (answer["queue_depth"], answer["cpu_usage"], answer["memory_usage"]) == (10, 12.5, 40.0)


def test_performance_without_figures_is_null() -> None:
    answer = performance(state([], MachineFigures(None, None, None, None, None)))
    stages = answer.pop("stages")
    assert set(answer.values()) == {None}
    assert {each["count"] for each in stages.values()} == {0}


@pytest.mark.parametrize("metrics", [{"stages": [], "rates": 7}, {"stages": {"sockets": {}}, "rates": {"relayed": "many"}}])
def test_malformed_metrics_of_a_process_are_left_out(metrics: Mapping[str, Any]) -> None:
    answer = performance(state([process("hub", metrics=metrics)]))
    assert (answer["latency_p50"], answer["throughput_per_sec"]) == (None, None)


# components, stats, readiness


COLLECTORS = {
    "market_data": {"status": "ready", "uptime_seconds": 60.5, "metrics_collected": 600, "errors": 2, "error_rate": 0.003},
    "system": {"status": "ready", "circuit": "half_open", "uptime_seconds": 60.5, "metrics_collected": 60, "errors": 0, "error_rate": 0.0},
    "strategy": {"status": "error"},
    "execution": {"status": "dancing"},
}


def with_collectors() -> SystemState:
    hub: dict[str, Any] = {"hub": {"clients": 3, "plain_clients": 4, "delivered": 70}}
    return state([*all_processes(hub=hub, observer={"metrics": {"collectors": COLLECTORS}}), process("hub", "hub:5002@a1", **hub)])


def test_components_are_the_collectors_and_the_sockets() -> None:
    answer = components(with_collectors())
    assert (answer["status"], answer["timestamp"]) == ("degraded", "2025-11-18T12:00:00.000000Z")
    found = answer["components"]
    assert found["market_data"] == {
        "name": "market_data", "status": "ready", "uptime_seconds": 60.5, "metrics_collected": 600, "errors": 2,
    }  # fmt: skip
    assert (found["system"]["circuit"], found["strategy"]["status"], found["execution"]["status"]) == ("half_open", "error", "stopped")
    assert found["websocket"] == {
        "status": "ready",
        "connections": 14,
        "stats": {"hubs": 2, "socketio_clients": 6, "plain_clients": 8, "delivered": 140},
    }


def test_stats_have_the_rates_of_errors() -> None:
    answer = stats(with_collectors())
    assert answer["api"] == {"running": True, "websocket_connections": 14, "total_messages_sent": 140}
    assert answer["collectors"]["market_data"] == {
        "name": "market_data", "status": "ready", "uptime": 60.5, "metrics_collected": 600, "errors": 2, "error_rate": 0.003,
    }  # fmt: skip


def test_collectors_without_an_observer_are_stopped() -> None:
    found = state([process("hub"), process("observer", age=16.0, metrics={"collectors": COLLECTORS})])
    assert {each["status"] for each in stats(found)["collectors"].values()} == {"stopped"}
    assert ready_collectors(found.processes) == dict.fromkeys(("market_data", "strategy", "execution", "system"), False)
    assert components(found)["status"] == "unhealthy"


def test_readiness_is_that_of_the_acting_observer() -> None:
    standby = process("observer", "observer.2@a1", acting=False)
    found = [*with_collectors().processes, standby]
    assert ready_collectors(found) == {"market_data": True, "strategy": False, "execution": False, "system": True}


def test_connections_of_a_hub_that_reports_nonsense_are_not_counted() -> None:
    assert websocket_connections([process("hub", hub={"clients": "many", "plain_clients": True})]) == 0
