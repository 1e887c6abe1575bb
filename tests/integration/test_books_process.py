"""The process of the books: it plays a scenario, stands by, takes over, ends in order."""

from __future__ import annotations

import signal
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from config.settings import Settings
from db.bus import Bus, Subscriptions
from db.postgres import Store
from db.scenario_runs import find_run
from db.timestamps import utc_now
from health.reports import read_processes
from jobs.runtime.container_check import failing_parts
from tests.conftest import Servers, new_ground, until
from tests.support.book_follower import Follower, subscribe
from tests.support.processes import Running, books
from tests.support.store import select

EIGHT = [
    *("status", "uptime_seconds", "total_messages_processed", "current_queue_size", "memory_usage_mb", "active_clients"),
    *("current_scenario", "last_heartbeat"),
]


@dataclass
class System:
    """A process of the books with a client, on a database and a bus of the module."""

    settings: Settings
    bus: Bus
    store: Store
    folder: Path
    process: Running
    subscription: Subscriptions
    client: Follower

    def await_client(self, condition: Callable[[Follower], bool], seconds: float, what: str) -> None:
        """Wait until the client has received something."""

        def holds() -> bool:
            self.client.read(self.subscription)
            return condition(self.client)

        until(holds, seconds, lambda: f"{what}: {self.client.states[-5:]} {self.process.output()[-3000:]}")

    def want(self, scenario: str, **values: Any) -> str:
        run_id = str(uuid.uuid4())
        fields = dict.fromkeys(("speed", "seed", "loop", "recording", "faults"))
        self.bus.want_scenario({"run_id": run_id, "scenario": scenario, **fields, "requested": "2026-01-01T00:00:00.000000Z", **values})
        return run_id

    def confirmed(self, run_id: str) -> bool:
        change = self.bus.latest_scenario_change()
        return change is not None and change["run_id"] == run_id

    def outcome(self, run_id: str) -> str | None:
        with self.store.transaction() as cursor:
            run = find_run(cursor, run_id)
        return None if run is None else run.outcome

    def report(self) -> dict[str, Any]:
        """The report of the acting process; empty if none acts."""
        found = [each.report for each in read_processes(self.bus, utc_now()).expected() if each.role == "books"]
        return next((dict(each.body) for each in found if each is not None and each.acting), {})


@pytest.fixture(scope="module")
def system(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("books")
    with ExitStack() as stack:
        settings, bus, store, _ = stack.enter_context(new_ground(servers, folder))
        subscription = stack.enter_context(closing(subscribe(bus)))
        process = stack.enter_context(books(settings, folder / "books.log", SOURCES="scenario", HEARTBEAT_INTERVAL="0.5"))
        system = System(settings, bus, store, folder, process, subscription, Follower())
        system.await_client(lambda client: ("syncing", "live", "start") in client.states, 30, "the first book")
        yield system


def test_scenario_of_the_settings_is_played_with_heartbeats(system: System) -> None:
    system.await_client(lambda client: client.counts["update"] > 100 and len(client.heartbeats) > 2, 20, "updates and heartbeats")
    assert system.client.problems == []
    assert system.client.states[:2] == [(None, "syncing", "start"), ("syncing", "live", "start")]
    beat = system.client.heartbeats[-1]
    assert list(beat) == ["type", *EIGHT, "lag_ms", "queue_max", "queue_peak", "books", "timestamp", "seq", "epoch"]
    assert (beat["type"], beat["status"], beat["current_scenario"]) == ("heartbeat", "healthy", "stable-mode")
    assert (beat["books"], beat["queue_max"]) == ({"BTCUSDT": "live"}, 2_000)
    assert beat["total_messages_processed"] > 10
    [change] = system.client.changes
    assert list(change) == ["previous_scenario", "current_scenario", "run_id", "timestamp", "seq", "epoch"]
    assert (change["previous_scenario"], change["current_scenario"]) == ("stable-mode", "stable-mode")
    assert system.outcome(change["run_id"]) == "running"


def test_latest_message_has_both_bodies_in_the_order_of_the_contract(system: System) -> None:
    body = system.bus.latest_book("BTCUSDT", 20)
    assert body is not None
    message = orjson.loads(body)
    assert list(message["snapshot"]) == [
        *("instrument", "depth", "state", "reason", "bids", "asks", "complete", "update_id", "checksum", "time", "timestamp"),
        *("lag_ms", "seq", "epoch"),
    ]
    assert list(message["meta"]) == ["received_at", "processed_at", "queue_size"]
    assert message["snapshot"]["time"].startswith("2024-08-08T23:5")
    assert message["meta"]["received_at"] <= message["meta"]["processed_at"]
    [row] = system.bus.book_rows().values()
    assert list(row) == [
        *("symbol", "state", "reason", "since", "update_id", "complete", "resyncs", "audits", "last_message_age_seconds", "measures"),
    ]
    assert row["audits"]["checked"] > 0
    assert row["audits"]["failed"] == 0


def test_report_has_the_part_of_the_books_and_the_source(system: System) -> None:
    until(lambda: "scenario" in system.report().get("sources", {}), 20, "the report")
    until(
        lambda: system.report().get("sources", {}).get("scenario", {}).get("state") == "live",
        8,
        lambda: str(system.report()) + str(system.bus.processes(0)) + system.process.output()[-1500:],
    )
    part = system.report()["books"]
    assert (part["dropped"], part["scenario_running"], part["processing_delay_ms"], part["connections"]) == (0, True, 1.0, [])
    assert list(part["scenario_run"]) == ["run_id", "started", "phase"]
    assert part["symbols"]["BTCUSDT"]["state"] == "live"
    assert failing_parts(system.bus, "books", socket.gethostname(), utc_now()) == {}


def test_wanted_scenario_is_confirmed_and_the_run_before_is_switched(system: System) -> None:
    first = system.client.changes[-1]["run_id"]
    system.client.states.clear()
    run_id = system.want("burst-mode", speed=5, seed=7)
    until(lambda: system.confirmed(run_id), 20, "the confirmation")
    until(lambda: system.report()["books"]["scenario_run"]["run_id"] == run_id, 20, "the report")
    assert (system.outcome(first), system.outcome(run_id)) == ("switched", "running")
    system.await_client(lambda client: ("resyncing", "live", "scenario") in client.states, 10, "the book of the new run")
    assert system.client.states[0] == ("live", "resyncing", "scenario")
    assert system.client.problems == []
    assert system.client.changes[-1]["previous_scenario"] == "stable-mode"
    [(seed, parameters)] = select(system.store, f"SELECT seed, parameters FROM scenario_runs WHERE run_id = '{run_id}'")  # noqa: S608
    assert (seed, parameters["phases"][0]) == (7, {"seconds": 25, "speed": 5})


def test_wanted_scenario_that_does_not_exist_changes_nothing(system: System) -> None:
    before = system.bus.latest_scenario_change()
    run_id = system.want("no-such-scenario")
    until(lambda: "the wanted scenario cannot be played" in system.process.output(), 20, "the log line")
    assert not system.confirmed(run_id)
    assert system.bus.latest_scenario_change() == before
    run_id = system.want("stable-mode")
    until(lambda: system.confirmed(run_id), 20, "the confirmation")


def test_second_process_takes_over_and_continues_with_the_wanted_scenario(system: System) -> None:
    system.client.states.clear()
    run_id = system.want("gradual-spike")
    system.await_client(lambda client: client.changes[-1]["run_id"] == run_id, 10, "the confirmation")
    system.await_client(lambda client: ("resyncing", "live", "scenario") in client.states, 10, "the book")
    with books(system.settings, system.folder / "second.log", SOURCES="scenario", HEARTBEAT_INTERVAL="0.5") as second:
        until(lambda: "standing by" in second.output(), 30, lambda: second.output()[-2000:])
        system.client.states.clear()
        changes = len(system.client.changes)
        system.process.kill(signal.SIGKILL)
        system.process = second
        system.await_client(lambda client: ("syncing", "live", "start") in client.states, 10, "the book of the second process")
        assert system.client.states[:2] == [("live", "stale", "disconnected"), (None, "syncing", "start")]
        [change] = system.client.changes[changes:]
        assert (change["previous_scenario"], change["current_scenario"]) == ("gradual-spike", "gradual-spike")
        assert change["run_id"] != run_id
        assert (system.outcome(run_id), system.outcome(change["run_id"])) == ("failed", "running")
        assert system.client.problems == []

        system.client.states.clear()
        assert second.ask_to_stop() == 0
        system.await_client(lambda client: ("live", "stale", "disconnected") in client.states, 10, "the state at the end")
        assert system.outcome(change["run_id"]) == "switched"
        lines = [orjson.loads(line) for line in second.output().splitlines() if line.startswith("{")]
        # The operator who stops the process needs no alert.
        assert [each for each in lines if each["message"] == "alert" and each["code"] == "disconnected"] == []
        reports = [each.report for each in read_processes(system.bus, utc_now()).expected()]
        assert second.pid not in {each.body["pid"] for each in reports if each is not None}  # it has left the registry
