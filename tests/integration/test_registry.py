"""The process registry: names, heartbeats, expected processes, removal, malformed reports."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
import redis as redis_client
from hypothesis import given
from hypothesis import strategies as st

from api.app import create_app
from api.hub.cluster.counts import Cluster
from config import VERSION
from config.access.patterns import EVERYTHING
from config.settings import Settings
from db import topics
from db.bus import Bus
from db.bus.processes.registry import EXPECTED_SECONDS
from db.postgres import Store
from db.timestamps import format_time, parse_time
from health.hubs import MAX_PAIRS, counts_of, living_hubs, subscriptions
from health.reporter import LARGE_REPORT_BYTES, Identity, Reporter
from health.reports import MAX_REPORT_BYTES, ProcessTable
from health.verdict import judge
from ops.running import RunFile
from ops.status import report as status_report
from tests.conftest import Servers, new_database, settings_for, until
from tests.support.answers import get
from tests.support.clients import PythonClient
from tests.support.examples import with_shared_fixtures
from tests.support.fake_time import FakeTime
from tests.support.processes import Running, Web
from tests.support.quick_system import quick_jobs, quick_web
from tests.support.quick_timing import PATIENT
from tests.support.registry import put_report
from tests.support.servers import of_database

REDIS_DATABASE = 4  # of this module's processes alone
NOW = datetime(2025, 11, 18, 12, tzinfo=UTC)


class Reported:
    """A reporter of this test's process, and its clock."""

    def __init__(self, bus: Bus, role: str = "jobs", port: int | None = None, *, host: str = "test", pid: int = 0, **parts: Any) -> None:
        self.time = FakeTime()
        self.parts: dict[str, Any] = {"acting": True, "failing": {}, **parts}
        started = datetime.now(UTC)
        identity = Identity(role, port, started, host, pid or os.getpid())
        self.families: Callable[[], Any] | None = None
        self.reporter = Reporter(
            bus, identity, lambda: self.parts, lambda: datetime.now(UTC), monotonic=self.time.monotonic, families=self._families
        )

    def _families(self) -> Any:
        return self.families() if self.families else {}

    def tick(self) -> str:
        self.reporter.tick()
        return self.reporter.name


@pytest.fixture
def neighbour() -> Iterator[int]:
    """The pid of a living process of this host."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.kill()


def reports(redis: redis_client.Redis) -> dict[str, Any]:
    """Process -> its report."""
    names: Any = redis.zrange(topics.PROCESSES_KEY, 0, -1)
    bodies = {name.decode(): redis.get(topics.process_key(name.decode())) for name in names}
    return {name: orjson.loads(body) if body else None for name, body in bodies.items()}


# names


@pytest.mark.parametrize(
    ("role", "port", "expected"),
    [
        ("jobs", None, ["jobs@test", "jobs.2@test", "jobs.3@test"]),
        ("rest", 5000, ["rest:5000@test", "rest:5000.2@test", "rest:5000.3@test"]),
    ],
)
def test_processes_of_one_host_take_the_next_free_name(bus: Bus, neighbour: int, role: str, port: int | None, expected: list[str]) -> None:
    first = Reported(bus, role, port, pid=neighbour)
    assert first.tick() == expected[0]
    second = Reported(bus, role, port, pid=os.getppid())
    assert second.tick() == expected[1]
    assert Reported(bus, role, port).tick() == expected[2]
    assert (first.tick(), second.tick()) == tuple(expected[:2])


def test_name_of_a_killed_process_is_taken_over(bus: Bus, raw_redis: redis_client.Redis) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        killed = Reported(bus, pid=process.pid)
        assert killed.tick() == "jobs@test"
        process.kill()
    successor = Reported(bus)
    assert successor.tick() == "jobs@test"
    assert list(reports(raw_redis)) == ["jobs@test"]
    assert reports(raw_redis)["jobs@test"]["pid"] == os.getpid()


def test_name_of_a_pid_that_another_process_got_later_is_taken_over(bus: Bus) -> None:
    put_report(bus, "jobs@test", now=datetime.now(UTC) - timedelta(days=400), host="test", pid=os.getppid())
    assert Reported(bus).tick() == "jobs@test"


def test_malformed_report_holds_no_name(bus: Bus, raw_redis: redis_client.Redis) -> None:
    raw_redis.set(topics.process_key("jobs@test"), b"{")
    assert Reported(bus).tick() == "jobs@test"


def test_process_of_another_host_under_the_same_name_is_logged_once(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    ours = Reported(bus)
    ours.tick()
    for _ in range(3):
        put_report(bus, "jobs@test", now=NOW, host="test", pid=2**22 + 1)
        assert ours.tick() == "jobs@test"
    assert [record.levelno for record in caplog.records if "under the same name" in record.message] == [logging.ERROR]


def test_address_for_a_wildcard_is_that_of_the_connection_to_redis(bus: Bus) -> None:
    assert bus.own_address() == "127.0.0.1"  # as for a Unix socket


# heartbeats and reports


def test_report_has_the_fields_of_the_top_level(bus: Bus, raw_redis: redis_client.Redis) -> None:
    Reported(bus, failing={"bus": "away"}).tick()
    report = reports(raw_redis)["jobs@test"]
    assert report.keys() == {"name", "role", "version", "pid", "host", "started", "at", "acting", "failing", "resources", "metrics"}
    assert (report["role"], report["acting"], report["failing"]) == ("jobs", True, {"bus": "away"})
    assert 14 <= raw_redis.ttl(topics.process_key("jobs@test")) <= 15


def test_large_report_is_sent_every_five_seconds_and_at_a_change(bus: Bus, raw_redis: redis_client.Redis) -> None:
    process = Reported(bus, sources={"one": {"state": "live", "detail": "x" * LARGE_REPORT_BYTES}})

    def sent() -> int:
        """Number of reports in ten heartbeats of one second."""
        seen = set()
        for _ in range(10):
            process.tick()
            seen.add(raw_redis.get(topics.process_key("jobs@test")))
            process.time.wait(1)
        return len(seen)

    assert sent() == 2
    process.parts = {**process.parts, "sources": {"one": {**process.parts["sources"]["one"], "state": "stale"}}}
    process.time.wait(-1)
    process.tick()
    assert reports(raw_redis)["jobs@test"]["sources"]["one"]["state"] == "stale"
    process.parts = {"acting": True, "failing": {}}
    process.time.wait(5)
    assert sent() == 10


def test_families_are_collected_again_after_four_seconds(bus: Bus, raw_redis: redis_client.Redis) -> None:
    process, collected = Reported(bus), count(1)
    process.families = lambda: {"tickwire_bus_epochs_total": [("", {}, next(collected))]}
    seen = []
    for _ in range(11):
        process.tick()
        seen.append(reports(raw_redis)["jobs@test"]["metrics"]["families"]["tickwire_bus_epochs_total"][0][2])
        process.time.wait(1)
    assert seen == [1] * 4 + [2] * 4 + [3] * 3


def test_report_above_64_kib_is_cut_with_one_warning(bus: Bus, raw_redis: redis_client.Redis, caplog: pytest.LogCaptureFixture) -> None:
    process = Reported(bus, metrics={"performance": {"rows": 1}})
    process.families = lambda: {"a": "x" * MAX_REPORT_BYTES}
    for _ in range(3):
        process.tick()
    metrics = reports(raw_redis)["jobs@test"]["metrics"]
    assert ("families" in metrics, metrics["performance"]) == (False, {"rows": 1})
    process.parts["sources"] = {"one": {"state": "live", "detail": "x" * MAX_REPORT_BYTES}}
    process.tick()
    report = reports(raw_redis)["jobs@test"]
    assert ("sources" in report, report["acting"]) == (False, True)
    assert len([record for record in caplog.records if "too large" in record.message]) == 1


def test_heartbeat_without_redis_is_dropped_and_goes_on(bus: Bus, raw_redis: redis_client.Redis, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    process = Reported(bus)
    process.tick()
    raw_redis.config_set("maxmemory", "1")
    try:
        for _ in range(3):
            process.tick()
    finally:
        raw_redis.config_set("maxmemory", "0")
    raw_redis.delete(topics.process_key("jobs@test"))
    process.tick()
    assert reports(raw_redis)["jobs@test"] is not None
    assert [record.message for record in caplog.records] == ["the process is not reported", "recovered: the process is not reported"]


def test_process_that_ends_in_order_is_removed_and_sends_nothing_more(bus: Bus, raw_redis: redis_client.Redis) -> None:
    process = Reported(bus)
    process.tick()
    process.reporter.close()
    process.tick()
    assert reports(raw_redis) == {}
    assert raw_redis.keys("tickwire:process:*") == []


# reading


def table_at(bus: Bus, now: datetime) -> ProcessTable:
    table = ProcessTable()
    milliseconds = int(now.timestamp() * 1000)
    table.update(bus.processes(milliseconds), milliseconds)
    return table


def test_process_is_down_after_15_seconds_and_forgotten_after_10_minutes(bus: Bus, raw_redis: redis_client.Redis) -> None:
    put_report(bus, "jobs@test", now=NOW)
    put_report(bus, "hub:5001@test", now=NOW, hub={"url": "http://127.0.0.1:5001"})
    found = []
    for seconds in (0, 15, 16, EXPECTED_SECONDS, EXPECTED_SECONDS + 1):
        verdict = judge(table_at(bus, NOW + timedelta(seconds=seconds)).expected(), NOW, own={})
        found.append((verdict.hub, sorted(verdict.failing)))
    down = ("disconnected", ["hub", "jobs"])
    assert found == [("connected", []), ("connected", []), down, down, ("unknown", ["jobs"])]
    put_report(bus, "rest:5000@test", now=NOW + timedelta(seconds=EXPECTED_SECONDS + 1))
    assert list(reports(raw_redis)) == ["rest:5000@test"]


def test_hub_without_report_is_down_and_a_draining_hub_is_not_expected(bus: Bus, raw_redis: redis_client.Redis) -> None:
    put_report(bus, "jobs@test", now=NOW)
    put_report(bus, "hub:5001@test", now=NOW, hub={"draining": True})
    table = table_at(bus, NOW)
    assert [each.name for each in table.expected()] == ["jobs@test"]
    put_report(bus, "hub:5002@test", now=NOW, hub={"draining": False})
    raw_redis.delete(topics.process_key("hub:5002@test"))
    assert judge(table_at(bus, NOW).expected(), NOW, own={}).failing.keys() == {"hub"}


def test_newest_report_of_each_source_is_used(bus: Bus) -> None:
    put_report(bus, "jobs@a", now=NOW, sources={"moved": {"state": "down"}, "kept": {"state": "live"}})
    put_report(bus, "jobs@b", now=NOW + timedelta(seconds=1), sources={"moved": {"state": "live"}})
    put_report(bus, "books@b", now=NOW, sources={"scenario": {"state": "live"}}, writer={"oldest_age_seconds": 3.5, "parked": 2})
    verdict = judge(table_at(bus, NOW).expected(), NOW, own={})
    assert {name: source["state"] for name, source in verdict.sources.items()} == dict.fromkeys(("moved", "kept", "scenario"), "live")
    assert dict(verdict.failing) == {}
    assert (verdict.writer["oldest_age_seconds"], verdict.writer["parked"]) == (3.5, 2)


def test_parts_of_a_source_are_one_with_the_worst_state(bus: Bus) -> None:
    later = format_time(NOW + timedelta(seconds=1))
    first = {"state": "live", "ticks": 5, "trades": 7, "refused": {"price": 1}, "last_tick": later, "failing_since": None, "detail": None}
    second = {**first, "state": "stale", "ticks": 2, "trades": 1, "last_tick": format_time(NOW), "detail": "silent for 12 s"}
    put_report(bus, "jobs@a", now=NOW, sources={"binance:0/2": first})
    put_report(bus, "jobs@b", now=NOW, acting=False, sources={"binance:1/2": second})
    verdict = judge(table_at(bus, NOW).expected(), NOW, own={})
    source = verdict.sources["binance"]
    assert (source["state"], source["detail"], source["last_tick"]) == ("stale", "silent for 12 s", later)
    assert (source["ticks"], source["trades"], source["refused"]) == (7, 8, {"price": 2})
    assert dict(verdict.failing) == {"source:binance": "stale: silent for 12 s"}


def test_source_that_moved_from_a_process_that_is_down_is_live(bus: Bus) -> None:
    put_report(bus, "jobs@a", now=NOW, acting=False, sources={"binance": {"state": "live"}})
    put_report(bus, "jobs@b", now=NOW + timedelta(seconds=16), sources={"binance": {"state": "live"}})
    verdict = judge(table_at(bus, NOW + timedelta(seconds=16)).expected(), NOW, own={})
    assert verdict.sources["binance"]["state"] == "live"
    assert dict(verdict.failing) == {}


def test_sources_of_a_process_that_is_down_are_stale(bus: Bus) -> None:
    put_report(bus, "jobs@test", now=NOW, sources={"binance": {"state": "live"}})
    verdict = judge(table_at(bus, NOW + timedelta(seconds=16)).expected(), NOW, own={})
    assert verdict.sources["binance"] == {"state": "stale", "last_state": "live", "reported": format_time(NOW)}
    assert verdict.failing.keys() == {"jobs", "source:binance"}


@pytest.mark.parametrize(
    ("source", "fails"),
    [
        ({"state": "live"}, False),
        ({"state": "ended", "failing_since": None}, False),
        ({"state": "connecting"}, False),
        ({"state": "stale"}, True),
        ({"state": "down"}, True),
        ({"state": "backing_off", "failing_since": format_time(NOW - timedelta(seconds=59))}, False),
        ({"state": "backing_off", "failing_since": format_time(NOW - timedelta(seconds=61))}, True),
        ({"state": "connecting", "failing_since": format_time(NOW - timedelta(seconds=61))}, True),
        ({"state": "backing_off", "failing_since": "yesterday"}, False),
    ],
    ids=lambda value: f"{value.get('state')}-{str(value.get('failing_since'))[-6:]}" if isinstance(value, dict) else "",
)
def test_state_of_a_source_decides_whether_it_fails(bus: Bus, source: dict[str, Any], fails: bool) -> None:
    put_report(bus, "jobs@test", now=NOW, sources={"one": source})
    assert judge(table_at(bus, NOW).expected(), NOW, own={}).failing.keys() == ({"source:one"} if fails else set())


def test_parked_entry_degrades_for_an_hour(bus: Bus) -> None:
    put_report(bus, "jobs@test", now=NOW, writer={"parked": 1, "last_parked": format_time(NOW)})
    processes = table_at(bus, NOW).expected()
    assert [judge(processes, NOW + timedelta(seconds=seconds), own={}).status for seconds in (0, 3601)] == ["degraded", "healthy"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("name", "role", "pid", "host", "started", "at", "acting", "failing", "hub", "sources", "writer", "resources", "metrics")
NOT_REPORTS = [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 2000, b'"' + b"x" * MAX_REPORT_BYTES + b'"']


@pytest.mark.parametrize("text", NOT_REPORTS, ids=range(len(NOT_REPORTS)))
def test_text_that_is_no_report_counts_as_missing(bus: Bus, text: bytes) -> None:
    put_report(bus, "jobs@test", now=NOW)
    bus.put_process("hub:5001@test", int(NOW.timestamp() * 1000), text)
    table = table_at(bus, NOW)
    assert table.malformed.keys() == {"hub:5001@test"}
    assert judge(table.expected(), NOW, own={}).failing.keys() == {"hub"}


@with_shared_fixtures(max_examples=50)
@given(st.sampled_from(FIELDS), json_values, st.sampled_from(["jobs", "hub"]))
def test_any_value_in_a_field_stops_no_reader(bus: Bus, field: str, value: Any, role: str) -> None:
    put_report(bus, f"{role}@x", now=NOW, **{field: value})
    put_report(bus, "jobs@y", now=NOW)
    table = table_at(bus, NOW)
    verdict = judge(table.expected(), NOW, own={})
    orjson.dumps([dict(verdict.failing), verdict.sources, verdict.writer])
    assert "jobs" not in verdict.failing
    Reported(bus, host="x").tick()


# processes


@pytest.fixture(scope="module")
def shared(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings without a source, with servers of this module alone."""
    folder = tmp_path_factory.mktemp("registry")
    redis_url = of_database(servers.redis_url, REDIS_DATABASE)
    with new_database(servers) as database_url:
        settings = settings_for(database_url, redis_url, folder / "var")
        with redis_client.Redis.from_url(redis_url) as client:
            client.hset("tickwire:sources", "synthetic", b'{"state": "live"}')  # of an earlier version
        yield settings


@pytest.fixture(scope="module")
def processes(shared: Settings, servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Running]]:
    """Two jobs processes, two hubs and REST."""
    folder = tmp_path_factory.mktemp("processes")
    patient = {PATIENT: "1"}
    made: dict[str, Running] = {name: quick_jobs(shared, folder / f"{name}.log", folder, **patient) for name in ("jobs", "jobs.2")}
    webs = {name: quick_web(name.partition(".")[0], shared, folder / f"{name}.log", folder, **patient) for name in ("hub", "hub.2", "rest")}
    with ExitStack() as stack:
        stack.enter_context(made["jobs"])
        for web in webs.values():
            stack.enter_context(web.popen_only())
        for web in webs.values():
            web.await_ready()
        # The second one starts later, so that both names are known. It has its name before a test
        # empties Redis: then the first name is free until the next report of its holder.
        with redis_client.Redis.from_url(of_database(servers.operator_url, REDIS_DATABASE)) as client:
            until(lambda: any(name.startswith("jobs@") for name in reports(client)), 60, "the first jobs process")
            stack.enter_context(made["jobs.2"])
            until(lambda: any(name.startswith("jobs.2@") for name in reports(client)), 60, "the second jobs process")
        yield {**made, **webs}


class Registered:
    """The processes of the module as the registry and REST show them."""

    def __init__(self, processes: dict[str, Running], redis: redis_client.Redis) -> None:
        self.processes = processes
        self.redis = redis

    def report(self, prefix: str) -> Any:
        """The report of the process whose name begins so; None if there is none."""
        return next((report for name, report in reports(self.redis).items() if name.startswith(prefix)), None)

    def web(self, name: str) -> Web:
        process = self.processes[name]
        assert isinstance(process, Web)
        return process

    def health(self) -> tuple[int, Any]:
        status, body = get(self.web("rest").url, "/health")
        return status, orjson.loads(body) if body else {}

    def hubs(self) -> dict[str, Any]:
        """The hubs of `GET /hubs`, by name."""
        status, body = get(self.web("rest").url, "/hubs")
        assert status == 200
        return {each["name"]: each for each in orjson.loads(body)["hubs"]}

    def acting_jobs(self) -> int:
        """The number of jobs processes that report to act."""
        return sum(report["acting"] for name, report in reports(self.redis).items() if name.startswith("jobs"))

    def await_check(self) -> None:
        """Wait for the next check of the bus by REST; the hubs check as often."""
        name = self.report("rest:")["name"]
        before = self.redis.hget(topics.HEALTH, name)
        until(lambda: self.redis.hget(topics.HEALTH, name) != before, what="another check")

    def is_healthy(self) -> bool:
        return self.health()[0] == 200 and self.health()[1]["hub"] == "connected"


@pytest.fixture
def registered(processes: dict[str, Running], servers: Servers) -> Iterator[Registered]:
    with redis_client.Redis.from_url(of_database(servers.operator_url, REDIS_DATABASE)) as client:
        found = Registered(processes, client)
        until(found.is_healthy, 30, lambda: f"health: {found.health()}")
        until(lambda: found.report("rest:") is not None, what="the first report of REST")
        yield found


def test_reports_of_an_earlier_version_are_deleted_by_jobs(registered: Registered) -> None:
    assert registered.redis.exists("tickwire:sources") == 0
    assert registered.health()[1]["sources"] == {}


def test_hub_reports_its_url_and_its_clients(registered: Registered) -> None:
    hub = registered.web("hub")
    name = f"hub:{hub.port}@"
    assert registered.report(name)["hub"] == {
        "url": hub.url,
        "clients": 0,
        "clients_limit": 1000,
        "plain_clients": 0,
        "connections": 0,
        "total_subscriptions": 0,
        "subscriptions_by_pair": {},
        "delivered": 0,
        "relay_lag_seconds": None,
        "draining": False,
    }
    with PythonClient(hub.url) as client:
        client.wait("connection_established")
        until(lambda: registered.report(name)["hub"]["clients"] == 1)


def test_every_hub_has_the_sums_over_all_hubs_and_rest_lists_them(registered: Registered) -> None:
    first, second = registered.web("hub"), registered.web("hub.2")
    with PythonClient(first.url) as one, PythonClient(first.url) as two, PythonClient(second.url) as three:
        one.call("subscribe", {"pairs": ["EUR_USD", "GBP_USD"]})
        for client in (two, three):
            client.call("subscribe", {"pairs": ["EUR_USD"]})
        sums = {
            "hubs": 2, "connected_clients": 3, "total_subscriptions": 4, "subscriptions_by_pair": {"EUR_USD": 3, "GBP_USD": 1},
        }  # fmt: skip
        for client in (one, three):
            until(lambda client=client: client.stats()["cluster"].items() >= sums.items(), what=lambda: str(one.stats()["cluster"]))  # type: ignore[misc]
            assert parse_time(client.stats()["cluster"]["as_of"]) <= datetime.now(UTC)
        until(lambda: [each["clients"] for each in registered.hubs().values()] in ([2, 1], [1, 2]), what="the counts of both hubs")
        found = registered.hubs()
        assert set(found) == {f"hub:{hub.port}@{socket.gethostname()}" for hub in (first, second)}
        mine = found[f"hub:{first.port}@{socket.gethostname()}"]
        assert (mine["url"], mine["version"], mine["failing"], mine["draining"]) == (first.url, VERSION, {}, False)
        assert (mine["subscriptions_by_pair"], mine["total_subscriptions"]) == ({"EUR_USD": 2, "GBP_USD": 1}, 3)
        assert mine["connections"] >= mine["clients"] == 2


def test_hubs_are_503_without_redis(shared: Settings, clock: Callable[[], datetime]) -> None:
    with closing(Store(str(shared.database_url))) as store, closing(Bus("redis://127.0.0.1:1/0", clock)) as away:
        answer = create_app(shared, away, store, clock, VERSION).test_client().get("/hubs")
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "unavailable")  # type: ignore[index]


def test_report_of_another_version_or_with_wrong_counts_is_no_fault(bus: Bus, database_url: str) -> None:
    put_report(bus, "hub:1@test", now=NOW, hub={"url": "http://a", "clients": 3})
    wrong = {"clients": "7", "total_subscriptions": -1, "subscriptions_by_pair": {"EUR_USD": "x", "GBP_USD": 2}, "relay_lag_seconds": []}
    put_report(bus, "hub:2@test", now=NOW, hub=wrong)
    put_report(bus, "hub:3@test", now=NOW - timedelta(seconds=15, milliseconds=1), hub={"clients": 1})
    put_report(bus, "hub:4@test", now=NOW, hub={"clients": 5, "draining": True, "subscriptions_by_pair": {"GBP_USD": 1}})
    bus.put_process("hub:5@test", int(NOW.timestamp() * 1000), b"{")
    put_report(bus, "jobs@test", now=NOW)
    found = living_hubs(bus, NOW)
    assert [each.name for each in found] == ["hub:1@test", "hub:2@test", "hub:4@test"]
    assert counts_of(each.part("hub") for each in found) == (3, 8, 0, {"GBP_USD": 3})
    with closing(Store(database_url)) as store:
        app = create_app(settings_for(database_url, "redis://127.0.0.1:1/0", Path()), bus, store, lambda: NOW, VERSION)
        answer = app.test_client().get("/hubs").json
    assert answer is not None
    assert [each["clients"] for each in answer["hubs"]] == [3, None, 5]
    assert [each["relay_lag_seconds"] for each in answer["hubs"]] == [None] * 3
    assert answer["count"] == 3


def test_many_instruments_are_reported_up_to_a_limit_and_counted_completely() -> None:
    by_pair = {f"PAIR_{number}": number for number in range(1, MAX_PAIRS + 11)}
    fields = subscriptions(by_pair)
    assert fields["total_subscriptions"] == sum(by_pair.values())
    assert fields["subscriptions_by_pair"] == {pair: count for pair, count in by_pair.items() if count > 10}


@pytest.mark.parametrize(("hubs", "seconds"), [(1, 5.0), (10, 5.0), (11, 5.5), (160, 80.0)])
def test_reports_are_read_more_rarely_by_many_hubs(hubs: int, seconds: float, bus: Bus) -> None:
    for number in range(1, hubs):
        put_report(bus, f"hub:{number}@test", now=NOW, hub={"clients": 1})
    cluster = Cluster(bus, lambda: ("hub:5001@own", {"clients": 2}), lambda: NOW)
    assert (cluster.pause_seconds, cluster.figures(EVERYTHING)["as_of"]) == (5.0, None)
    cluster.read()
    assert cluster.pause_seconds == seconds
    assert cluster.figures(EVERYTHING)["connected_clients"] == hubs + 1
    assert cluster.figures(EVERYTHING)["as_of"] == format_time(NOW)


def test_checks_of_a_hub_are_no_messages_for_clients(registered: Registered) -> None:
    hub = registered.web("hub")
    with PythonClient(hub.url) as client:
        client.call("subscribe", {"pairs": "all"})
        registered.await_check()
        registered.await_check()
        stats = client.stats()
        assert (stats["messages_relayed"], stats["last_message_age_seconds"], stats["messages_skipped"]) == (0, None, {})
        assert stats["connected_clients"] == 1


def test_second_jobs_process_has_another_name_and_both_keep_theirs(registered: Registered) -> None:
    until(lambda: registered.report("jobs.2@") is not None, what="the second jobs process")
    until(lambda: registered.acting_jobs() == 1, 30, "one acting process")
    first, second = registered.report("jobs@"), registered.report("jobs.2@")
    acting = "jobs" if first["acting"] else "jobs.2"
    for name, before in (("jobs", first), ("jobs.2", second)):
        assert registered.processes[name].pid == before["pid"]
        registered.processes[name].kill()
        registered.processes[name].start()
        pid = registered.processes[name].pid
        until(lambda name=name, pid=pid: registered.report(f"{name}@")["pid"] == pid, 30, f"{name} under its own name")  # type: ignore[misc]
    assert {name.partition("@")[0] for name in reports(registered.redis) if name.startswith("jobs")} == {"jobs", "jobs.2"}
    # The last report of a killed process counts for a moment: health alone proves nothing yet.
    until(lambda: registered.acting_jobs() == 1, 30, "one acting process")
    until(registered.is_healthy, 30, lambda: f"health after the restart of {acting}: {registered.health()}")


def test_killed_hub_is_disconnected_until_it_is_back(registered: Registered) -> None:
    hub = registered.web("hub.2")
    hub.kill()

    def only_the_hub_fails() -> bool:
        status, body = registered.health()
        return (status, body.get("hub"), body.get("failing")) == (503, "disconnected", ["hub"])

    try:
        until(only_the_hub_fails, what=lambda: f"the end of the hub in {registered.health()}")
        assert [each["url"] for each in registered.hubs().values()] == [registered.web("hub").url]
        with PythonClient(registered.web("hub").url) as client:
            until(lambda: client.stats()["cluster"]["hubs"] == 1, what="the end of the killed hub in the sums")
    finally:
        hub.start()
    until(registered.is_healthy, 30)


def test_status_shows_every_registered_process_and_requests_every_hub(registered: Registered, shared: Settings) -> None:
    until(lambda: registered.report("jobs.2@") is not None)
    run = RunFile(registered.web("rest").url, registered.web("hub").url, str(shared.database_url), str(shared.redis_url), {})
    first = [registered.web("hub").url]

    def report(hub_seconds: float = 10.0, run: RunFile = run) -> dict[str, Any]:
        return status_report(run, datetime.now(UTC).timestamp(), first, hub_seconds)

    until(lambda: report()["healthy"], what=lambda: str(report()))
    found = report()
    assert {row["name"].partition("@")[0].partition(":")[0] for row in found["registry"]} == {"jobs", "jobs.2", "hub", "rest"}
    assert found["hubs"] == {registered.web("hub").url: True, registered.web("hub.2").url: True}
    os.killpg(registered.processes["hub.2"].pid, signal.SIGSTOP)
    try:
        one_is_silent = {registered.web("hub").url: True, registered.web("hub.2").url: False}
        until(lambda: report(1.0)["hubs"] == one_is_silent, what=lambda: str(report(1.0)))
        assert not report(1.0)["healthy"]
        away = replace(run, redis_url="redis://127.0.0.1:1/0")
        assert report(run=away)["hubs"] == {registered.web("hub").url: True}
    finally:
        os.killpg(registered.processes["hub.2"].pid, signal.SIGCONT)
    until(registered.is_healthy)


def test_hub_that_stops_in_order_is_removed_and_health_stays_200(registered: Registered) -> None:
    hub = registered.web("hub.2")
    answers: list[tuple[int, Any]] = []
    assert hub.popen is not None
    hub.popen.terminate()

    def gone() -> bool:
        answers.append(registered.health())
        return registered.report(f"hub:{hub.port}@") is None

    until(gone, what="the removal of the hub")
    assert hub.popen.wait(60) == 0
    for _ in range(16):  # longer than a killed hub needs to count as down
        registered.await_check()
        answers.append(registered.health())
    # A busy machine may pause another process for so long that it fails.
    failing = [body["failing"] for status, body in answers if status != 200]
    assert not [parts for parts in failing if "hub" in parts], failing
    assert answers[-1][1]["hub"] == "connected"  # the other hub


def test_rest_that_stops_in_order_is_removed(registered: Registered) -> None:
    rest = registered.web("rest")
    name = registered.report("rest:")["name"]
    assert rest.ask_to_stop() == 0
    assert name not in reports(registered.redis)
    assert not psutil.pid_exists(rest.pid)
