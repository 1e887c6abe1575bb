"""The metrics of the books against what exchanges and scenarios gave, and clients received.

Exact numbers come from a worker in virtual time; one process shows that every row is exported.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from config.exposition import Exposition, render, represent
from config.metrics import METRICS
from jobs.books.process.metrics import BooksMetrics
from tests.conftest import Servers, new_ground, until
from tests.support.book_follower import subscribe
from tests.support.even_recordings import even_recording
from tests.support.exported import Values, of, parsed, read
from tests.support.ports import free_port
from tests.support.processes import books
from tests.support.virtual_books import VirtualBooks

STATES = ("syncing", "live", "gap", "resyncing", "stale")
GAP_REASONS = ("missing_update", "crossed", "diverged", "overflow", "bad_message")
FAULTS = (
    *("drop", "duplicate", "reorder", "corrupt", "disconnect", "silence", "snapshot_late", "snapshot_refused", "id_jump"),
    *("clock_skew", "slow_database", "slow_bus", "slow_client"),
)
LEVELS = 36  # of each diff
ROWS = {name: row for name, row in METRICS.items() if "books" in row.services}


@pytest.fixture(scope="module")
def ground(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with new_ground(servers, tmp_path_factory.mktemp("books")) as ground:
        yield ground


class Played(VirtualBooks):
    """A worker in virtual time and its metrics."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.exposition = Exposition("books")
        self.exposition.register(BooksMetrics(self.worker.parts.keeper, self.scenario, queue_max=7))

    def values(self) -> Values:
        return parsed(render(self.exposition.families(), represent(None))[0].decode())

    def start(self, seconds: float, **content: Any) -> None:
        recording = even_recording(60, symbol=content.pop("symbol", "BTCUSDT"), levels=LEVELS)
        self.begin(str(uuid.uuid4()), [recording], processing_delay_ms=0, **content)
        self.play(seconds)


@pytest.fixture
def played(ground: Any) -> Iterator[Played]:
    _, bus, store, client = ground
    client.flushall()
    with closing(subscribe(bus)) as subscription:
        yield Played(bus, store, subscription)


def test_recording_is_counted_exactly_and_begins_with_zeros(played: Played) -> None:
    values = played.values()
    assert of(values, "tickwire_scenario_queue_max") == {"": 7}
    assert of(values, "tickwire_scenario_queue_size") == of(values, "tickwire_scenario_backpressure_seconds_total") == {"": 0}
    assert of(values, "tickwire_scenario_faults_total", "kind") == dict.fromkeys(FAULTS, 0)
    assert of(values, "tickwire_scenario_info", "name") == of(values, "tickwire_book_state", "symbol", "state") == {}
    played.replay(even_recording(6, levels=LEVELS), 1)  # 10 diffs per second
    played.play(7)
    values = played.values()
    assert of(values, "tickwire_book_updates_total", "symbol") == {"BTCUSDT": 60}
    assert of(values, "tickwire_book_levels_total", "symbol") == {"BTCUSDT": 60 * LEVELS}
    lags = of(values, "tickwire_book_lag_seconds_count", "stage")
    assert (lags["exchange"], lags["queue"], lags["apply"]) == (0, 60, 60)  # the events of a recording are old
    assert 58 <= lags["publish"] <= 61
    states = of(values, "tickwire_book_state", "symbol", "state")
    assert states == {("BTCUSDT", state): int(state == "live") for state in STATES}
    held = of(values, "tickwire_book_levels_held", "symbol", "side")
    assert held == of(values, "tickwire_book_complete_levels", "symbol", "side") == {("BTCUSDT", "bids"): 50, ("BTCUSDT", "asks"): 50}
    played.play(6)  # silence
    values = played.values()
    assert of(values, "tickwire_book_state", "symbol", "state")["BTCUSDT", "stale"] == 1
    assert set(of(values, "tickwire_book_complete_levels", "symbol", "side").values()) == {0}
    assert of(values, "tickwire_book_levels_held", "symbol", "side") == held


def test_faults_gaps_and_resyncs_are_those_that_clients_received(played: Played) -> None:
    played.start(20, faults=[{"kind": "drop", "every": 40}])
    values, states = played.values(), Counter(state for _, state, _ in played.client.states)
    diffs = of(values, "tickwire_book_updates_total", "symbol")["BTCUSDT"]
    dropped = of(values, "tickwire_scenario_faults_total", "kind")
    assert dropped == dict.fromkeys(FAULTS, 0) | {"drop": (diffs + dropped["drop"]) // 40}
    assert dropped["drop"] > 2
    assert of(values, "tickwire_scenario_info", "name") == {"test-mode": 1}
    assert of(values, "tickwire_scenario_queue_max") == {"": 2_000}
    gaps = {("BTCUSDT", reason): 0 for reason in GAP_REASONS} | {("BTCUSDT", "missing_update"): states["gap"]}
    assert of(values, "tickwire_book_gaps_total", "symbol", "reason") == gaps
    assert of(values, "tickwire_book_resyncs_total", "symbol") == {"BTCUSDT": states["resyncing"]}
    rebuilt = sum(before == "resyncing" and state == "live" for before, state, _ in played.client.states)
    assert of(values, "tickwire_book_resync_seconds_count") == {"": rebuilt}
    assert 0 < of(values, "tickwire_book_resync_seconds_sum")[""] < 20
    assert played.client.problems == []


def test_counts_stay_when_another_scenario_begins(played: Played) -> None:
    played.start(5)
    before = of(played.values(), "tickwire_book_updates_total", "symbol")
    assert before["BTCUSDT"] in (49, 50, 51)
    played.start(5, symbol="ETHUSDT", faults=[{"kind": "duplicate", "at": 1, "count": 3}])
    played.start(2)
    values = played.values()
    updates = of(values, "tickwire_book_updates_total", "symbol")
    assert updates["BTCUSDT"] > before["BTCUSDT"]
    assert updates["ETHUSDT"] in (52, 53, 54)
    assert {symbol for symbol, _ in of(values, "tickwire_book_state", "symbol", "state")} == {"BTCUSDT"}
    assert of(values, "tickwire_scenario_faults_total", "kind")["duplicate"] == 3


def test_process_exports_every_row(ground: Any, tmp_path: Path) -> None:
    settings, bus, _, client = ground
    client.flushall()
    port = free_port()
    with ExitStack() as stack:
        process = stack.enter_context(books(settings, tmp_path / "books.log", SOURCES="scenario", METRICS_PORT=str(port)))
        until(bus.book_rows, 60, lambda: f"the first book: {process.output()[-3000:]}")
        until(lambda: of(read(port), "tickwire_book_updates_total", "symbol").get("BTCUSDT", 0) > 5, 60, lambda: process.output()[-3000:])
        values = read(port)
        for name, row in ROWS.items():
            assert of(values, name + ("_count" if row.kind == "histogram" else ""), *row.labels), name
        audits = of(values, "tickwire_book_audit_total", "symbol", "against", "result")
        assert set(audits) == {("BTCUSDT", against, result) for against in ("ticker", "snapshot") for result in ("passed", "failed")}
        assert of(values, "tickwire_acting", "service") == {"books": 1}
        until(lambda: of(read(port), "tickwire_book_audit_total", "symbol", "against", "result")["BTCUSDT", "ticker", "passed"] > 0, 20)
