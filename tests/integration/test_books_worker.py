"""The worker of the books in virtual time: scenarios, faults, a bus and a store that fail."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import cache
from typing import Any

import pytest
import redis as redis_client

from db.bus import Bus, BusError
from db.postgres import Store
from db.scenario_runs import latest_runs
from db.scenarios.files import load_recording
from db.scenarios.recording import Recording
from db.timestamps import utc_now
from tests.conftest import Servers, new_database
from tests.support.book_follower import subscribe
from tests.support.even_recordings import even_recording
from tests.support.processes import ROOT
from tests.support.virtual_books import VirtualBooks

SCENARIO = ("resyncing", "live", "scenario")


@cache
def recording() -> Recording:
    return load_recording(ROOT / "data" / "recordings" / "btcusdt_20240808.gz")


class WeakBus(Bus):
    """The real bus, whose next calls fail: before Redis has done the work, or after it."""

    fails = 0
    is_late = False  # the answer is lost, not the request

    def _run_scripts(self, *arguments: Any, **options: Any) -> Any:
        if not self.fails:
            return super()._run_scripts(*arguments, **options)
        self.fails -= 1
        if self.is_late:
            super()._run_scripts(*arguments, **options)
        raise BusError("this call fails")


class WeakStore(Store):
    """The real store, or one whose server does not answer."""

    is_away = False

    def _idle(self) -> Any:
        from db.postgres import StoreError

        if self.is_away:
            raise StoreError("the store is away")
        return super()._idle()


@pytest.fixture(scope="module")
def parts(servers: Servers) -> Iterator[tuple[WeakBus, WeakStore]]:
    with ExitStack() as stack:
        url = stack.enter_context(new_database(servers))
        bus = stack.enter_context(closing(WeakBus(servers.redis_url, utc_now)))
        yield bus, stack.enter_context(closing(WeakStore(url)))


@pytest.fixture
def books(servers: Servers, parts: tuple[WeakBus, WeakStore]) -> Iterator[VirtualBooks]:
    bus, store = parts
    with ExitStack() as stack:
        client = stack.enter_context(redis_client.Redis.from_url(servers.operator_url, protocol=2))
        client.flushall()
        bus.fails, bus.is_late, store.is_away = 0, False, False
        subscription = stack.enter_context(closing(subscribe(bus)))
        yield VirtualBooks(bus, store, subscription)


def begin(books: VirtualBooks, seconds: float, **content: Any) -> str:
    """Play a new run for some seconds; returns its id."""
    run_id = str(uuid.uuid4())
    books.begin(run_id, [recording()], **content)
    books.play(seconds)
    return run_id


def test_first_snapshot_is_that_of_the_contract(books: VirtualBooks) -> None:
    begin(books, 3)
    first = books.client.first["BTCUSDT|20"]
    assert (first["update_id"], first["checksum"], first["time"]) == (50093239224, 1580128075, "2024-08-08T23:54:15.408000Z")
    assert first["complete"] == {"bids": 999, "asks": 999, "from": "61631.55000000", "to": "62053.18000000"}
    assert (first["bids"][0], first["reason"]) == (["61837.63000000", "3.78826000"], "start")
    assert set(books.client.lag_ms) == {1.0}  # the delay of the worker


def test_recording_answers_no_request_and_stays_live_until_it_is_thin(books: VirtualBooks) -> None:
    stage = books.replay(recording(), 20)
    books.play(26)
    client, book = books.client, books.worker.parts.keeper.books["BTCUSDT"]
    assert stage.has_ended
    thin = [(state, reason) for _, state, reason in client.states[2:] if reason != "snapshot_failed"]
    # The recording has 22 diffs without a proven bid; after its end it is silent.
    assert thin == [("resyncing", "thin"), ("live", "thin"), ("stale", "silent")]
    assert (book.machine.book.complete.bids, book.machine.book.complete.asks) == (135, 1_450)
    assert (client.problems, client.changes) == ([], [])
    with books.store.transaction() as cursor:
        assert {run.scenario for run in latest_runs(cursor, 100)} <= {"test-mode"}


def test_overload_is_emptied_and_every_book_is_right(books: VirtualBooks) -> None:
    phases = [{"seconds": 2, "speed": 1}, {"seconds": 7, "speed": 100}, {"seconds": 600, "speed": 1}]
    run_id = begin(books, 45, phases=phases, processing_delay_ms=25, queue_max=2_000, on_full="resync")
    books.scenario.close()
    record, client = books.record(run_id), books.client
    assert client.problems == []
    # λ - μ = 1,000/s - 40/s fills 2,000 places every 2.1 s
    assert 2 <= record.gaps <= 4
    overflows = [state for _, state, reason in client.states if reason == "overflow"]
    assert overflows == ["gap", "resyncing", "live"] * record.gaps
    assert (record.resyncs, record.wrong_books, record.outcome) == (record.gaps, 0, "switched")
    assert record.peak_queue == 2_000
    assert books.statuses[-1][1] == "healthy"
    assert "unhealthy" in {status for _, status in books.statuses}
    assert record.recover_seconds is not None
    assert record.recover_seconds < 30
    assert [each["second"] for each in record.timeline] == list(range(len(record.timeline)))


# (fault, (state, reason) of the changes after the start)
MISSING = [("gap", "missing_update"), ("resyncing", "missing_update"), ("live", "missing_update")]
FAULTS: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "drop": ({}, MISSING),
    "duplicate": ({}, []),
    "reorder": ({}, MISSING),
    "corrupt": ({}, [("gap", "bad_message"), ("resyncing", "bad_message"), ("live", "bad_message")]),
    "disconnect": ({"seconds": 2}, [("stale", "disconnected"), ("resyncing", "disconnected"), ("live", "disconnected")]),
    "silence": ({"seconds": 7}, [("stale", "silent"), ("live", "silent")]),
    "id_jump": ({}, MISSING),
    "clock_skew": ({"ms": 4_000, "seconds": 3}, []),
    "slow_bus": ({"ms": 50, "count": 3}, []),
    "slow_database": ({"ms": 50, "count": 1}, []),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_fault_has_its_states_and_no_book_is_wrong(books: VirtualBooks, kind: str) -> None:
    how, expected = FAULTS[kind]
    run_id = begin(books, 12, faults=[{"kind": kind, "at": 3, **how}])
    books.scenario.close()
    record = books.record(run_id)
    assert [(state, reason) for _, state, reason in books.client.states[2:]] == expected
    assert (books.client.problems, record.wrong_books) == ([], 0)
    assert books.waited == {"slow_bus": [0.05] * 3, "slow_database": [0.05]}.get(kind, [])
    assert record.gaps == sum(state == "gap" for state, _ in expected)


def test_each_diff_and_each_departure_from_live_is_logged(books: VirtualBooks, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "jobs.books")
    begin(books, 5, faults=[{"kind": "drop", "at": 3}])
    books.worker.close()
    lines = [vars(record) for record in caplog.records]
    updates = [each for each in lines if each["message"] == "orderbook_update"]
    assert len(updates) == books.worker.figures().processed
    assert {each["levelname"] for each in updates} == {"DEBUG"}
    [alert] = [each for each in lines if each["message"] == "alert"]  # none for the books that stop in order
    assert (alert["levelname"], alert["code"], alert["symbol"], alert["state"]) == ("WARNING", "missing_update", "BTCUSDT", "gap")
    assert all(each["processing_ms"] >= 0 and each["queue_size"] >= 0 for each in [alert, *updates])
    assert books.client.states[-1] != ("live", "stale", "disconnected")
    books.read()
    assert books.client.states[-1] == ("live", "stale", "disconnected")


def test_late_and_refused_snapshots_are_requested_again(books: VirtualBooks) -> None:
    faults = [
        {"kind": "snapshot_late", "at": 0, "seconds": 30, "count": 1},
        {"kind": "snapshot_refused", "at": 5, "count": 1},
        *({"kind": "drop", "at": at} for at in (3, 6)),
    ]
    begin(books, 12, faults=faults)
    states = [(state, reason) for _, state, reason in books.client.states[2:]]
    assert states == [*MISSING, *MISSING[:2], ("resyncing", "snapshot_failed"), MISSING[2]]
    assert books.client.problems == []


def test_switch_makes_the_book_anew_and_forgets_its_ids(books: VirtualBooks) -> None:
    first = begin(books, 20)
    second = begin(books, 5)
    assert [books.record(each).outcome for each in (first, second)] == ["switched", "running"]
    assert books.client.states[2:] == [("live", "resyncing", "scenario"), SCENARIO]
    assert [change["run_id"] for change in books.client.changes] == [first, second]
    assert books.client.problems == []


def test_snapshot_directly_before_the_first_diff_replaces_the_book_at_a_restart(books: VirtualBooks) -> None:
    run_id = str(uuid.uuid4())
    books.begin(run_id, [even_recording(2)], processing_delay_ms=0)
    books.play(7)
    books.scenario.close()
    assert books.client.states[2:] == [("live", "resyncing", "scenario"), SCENARIO] * 3
    assert (books.client.problems, books.record(run_id).wrong_books) == ([], 0)


def test_recording_that_begins_again_replaces_the_book(books: VirtualBooks) -> None:
    run_id = begin(books, 4, phases=[{"seconds": 60, "speed": 100}], processing_delay_ms=0)  # 400 s of a recording of 350 s
    books.scenario.close()
    assert books.client.states[2:] == [("live", "resyncing", "scenario"), SCENARIO]
    assert books.client.problems == []
    record = books.record(run_id)
    assert (record.gaps, record.resyncs, record.wrong_books) == (0, 0, 0)


def test_scenario_that_is_over_is_finished(books: VirtualBooks) -> None:
    run_id = begin(books, 12, phases=[{"seconds": 3, "speed": 1}])
    record = books.record(run_id)
    assert record.outcome == "finished"
    begin(books, 1)
    assert books.record(run_id) == record


@pytest.mark.parametrize("is_late", [False, True], ids=["request lost", "answer lost"])
def test_failed_publish_is_followed_by_snapshots(books: VirtualBooks, parts: tuple[WeakBus, WeakStore], is_late: bool) -> None:
    begin(books, 3)
    bus, _ = parts
    snapshots, updates = books.client.counts["snapshot"], books.client.counts["update"]
    bus.fails, bus.is_late = 3, is_late
    books.play(6)
    assert bus.fails == 0
    assert books.client.problems == []
    assert books.client.counts["snapshot"] > snapshots
    assert books.client.counts["update"] > updates + 50
    assert books.statuses[-1][1] == "healthy"


def test_states_of_an_outage_are_published_in_order_before_the_snapshot(books: VirtualBooks, parts: tuple[WeakBus, WeakStore]) -> None:
    bus, _ = parts
    books.begin(str(uuid.uuid4()), [recording()], faults=[{"kind": "drop", "at": 3}])
    books.play(2)
    bus.fails = 6  # with pauses of 0.5 s: longer than the gap
    books.play(8)
    assert bus.fails == 0
    assert [(state, reason) for _, state, reason in books.client.states[2:]] == MISSING
    assert books.client.problems == []


def test_lost_data_of_redis_are_followed_by_snapshots_of_a_new_epoch(books: VirtualBooks, servers: Servers) -> None:
    begin(books, 3)
    epoch, snapshots = books.client.positions["BTCUSDT|20"][0], books.client.counts["snapshot"]
    with redis_client.Redis.from_url(servers.operator_url, protocol=2) as client:
        client.flushall()
    books.play(3)
    assert books.client.positions["BTCUSDT|20"][0] != epoch
    assert books.client.counts["snapshot"] >= snapshots + 4
    # The update that began the epoch cannot be applied: clients wait for the snapshot behind it.
    assert {problem.split(": ")[1].split(" after ")[0][:2] for problem in books.client.problems} == {"('"}
    assert set(books.bus.book_rows()) == {"BTCUSDT"}


def test_run_is_stored_after_an_outage_of_the_store(books: VirtualBooks, parts: tuple[WeakBus, WeakStore]) -> None:
    _, store = parts
    store.is_away = True
    run_id = begin(books, 5)
    updates = books.client.counts["update"]
    assert updates > 50  # the books do not wait
    store.is_away = False
    books.play(12)
    assert books.record(run_id).outcome == "running"
    assert books.client.counts["update"] > updates


def test_levels_that_cannot_be_computed_with_are_a_bad_message(books: VirtualBooks, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(books, 3)
    book = books.worker.parts.keeper.books["BTCUSDT"]
    fail_once(monkeypatch, book.tops, "update", OverflowError("no time"))
    books.play(3)
    bad = [("gap", "bad_message"), ("resyncing", "bad_message"), ("live", "bad_message")]
    assert [(state, reason) for _, state, reason in books.client.states[2:]] == bad
    assert books.client.problems == []


def fail_once(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, error: Exception) -> None:
    """Let the next call of a method raise the error."""
    real: Callable[..., Any] = getattr(owner, name)
    calls: list[Sequence[Any]] = []

    def call(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 1:
            raise error
        return real(*arguments)

    monkeypatch.setattr(owner, name, call)


def test_runs_of_a_killed_process_are_failed_without_a_scenario_too(books: VirtualBooks, servers: Servers) -> None:
    run_id = begin(books, 1)
    assert books.record(run_id).outcome == "running"
    with closing(subscribe(books.bus)) as subscription:
        after = VirtualBooks(books.bus, books.store, subscription)
        after.play(1)
    assert books.record(run_id).outcome == "failed"
    assert books.record(run_id).ended is not None
