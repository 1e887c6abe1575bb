"""The process of the books with live books of the local Binance: gaps, refreshes, rows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import pytest

from api.app import create_app
from config.settings import Settings
from db import topics
from db.book_rows import BookEntry, BookRow
from db.book_snapshots import BookSnapshotRow
from db.book_tops import BookTop
from db.bus import Bus, Subscriptions
from db.postgres import Store
from db.timestamps import utc_now
from health.reports import read_processes
from jobs.store.book_queue import BookQueue
from jobs.store.writer import BatchRule, Writer
from tests.conftest import Servers, new_ground, until
from tests.standins.binance import BinanceStandIn
from tests.support.book_follower import Follower, subscribe
from tests.support.exported import of, read
from tests.support.ports import free_port
from tests.support.processes import Running, books
from tests.support.store import select


@dataclass
class Live:
    """A process with the books of BTCUSDT and ETHUSDT, and a client of each."""

    exchange: BinanceStandIn
    settings: Settings
    bus: Bus
    store: Store
    redis: Any  # redis-py types each answer as the union of all
    process: Running
    subscription: Subscriptions
    client: Follower
    metrics: int  # port

    def await_client(self, condition: Callable[[Follower], bool], what: str) -> None:
        def holds() -> bool:
            self.client.read(self.subscription)
            return condition(self.client)

        until(holds, 30, lambda: f"{what}: {self.client.states[-6:]} {self.process.output()[-3000:]}")

    def gaps(self) -> list[tuple[Any, ...]]:
        return select(
            self.store,
            "SELECT symbol, reason, state, missing, last_id - first_id + 1, end_time > start_time FROM gaps"
            " WHERE kind = 'book' ORDER BY id",
        )

    def rows(self) -> list[BookRow]:
        """The rows for the store."""
        return [BookEntry.of(*entry).row for entry in self.redis.xrange(topics.stream_key(topics.BOOK_TOPS))]

    def part(self, name: str) -> dict[str, Any]:
        reports = [each.report for each in read_processes(self.bus, utc_now()).expected()]
        return next((dict(each.part(name)) for each in reports if each is not None and each.acting), {})


@pytest.fixture(scope="module")
def live(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("live-books")
    with ExitStack() as stack:
        settings, bus, store, client = stack.enter_context(new_ground(servers, folder))
        exchange = stack.enter_context(BinanceStandIn(folder))
        subscription = stack.enter_context(closing(subscribe(bus)))
        variables = {**exchange.book_variables, "BOOK_REFRESH_LEVELS": "999", "BOOK_SNAPSHOT_LIMIT": "1000", "BOOK_DEPTH_SECONDS": "1"}
        port = free_port()
        process = stack.enter_context(books(settings, folder / "books.log", **variables, METRICS_PORT=str(port), SOURCES=""))
        found = Live(exchange, settings, bus, store, client, process, subscription, Follower(), port)
        found.await_client(lambda each: each.states.count(("syncing", "live", "start")) == 2, "both books")
        yield found


def test_refresh_leaves_the_books_live(live: Live) -> None:
    live.await_client(lambda client: client.reasons["refreshed"] >= 8, "two refreshed books of four depths")
    assert {state for _, state, _ in live.client.states} == {"syncing", "live"}
    assert live.client.problems == []


def test_missing_diff_is_a_gap_of_one_book_and_a_row(live: Live) -> None:
    eth = live.client.positions["ETHUSDT|50"][1]
    live.exchange.control("skip", kind="diff", symbol="BTCUSDT")
    live.await_client(lambda client: ("resyncing", "live", "missing_update") in client.states, "the return of the book")
    live.await_client(lambda client: client.positions["ETHUSDT|50"][1] > eth + 5, "updates of the other book")
    assert live.client.states[-3:] == [
        ("live", "gap", "missing_update"),
        ("gap", "resyncing", "missing_update"),
        ("resyncing", "live", "missing_update"),
    ]
    assert live.client.problems == []
    until(lambda: [row[2] for row in live.gaps()] == ["filled"], 20, lambda: str(live.gaps()))
    [(symbol, reason, _, missing, ids, has_length)] = live.gaps()
    assert (symbol, reason, has_length) == ("BTCUSDT", "missing_update", True)
    assert missing == ids > 0


def test_lost_connection_is_stale_and_then_built_again(live: Live) -> None:
    live.client.states.clear()
    live.exchange.control("drop")
    live.await_client(lambda client: client.states.count(("resyncing", "live", "disconnected")) == 2, "the return of both books")
    assert live.client.states.count(("live", "stale", "disconnected")) == 2
    assert live.client.problems == []
    until(lambda: [row[:3] for row in live.gaps()[1:]] == [(each, "disconnected", "filled") for each in ("BTCUSDT", "ETHUSDT")], 20)


def test_metrics_are_those_of_the_stored_gaps_and_the_refreshes(live: Live) -> None:
    values = read(live.metrics)
    gaps = of(values, "tickwire_book_gaps_total", "symbol", "reason")
    assert {key: number for key, number in gaps.items() if number} == {("BTCUSDT", "missing_update"): 1}
    assert of(values, "tickwire_book_resyncs_total", "symbol") == {"BTCUSDT": 2, "ETHUSDT": 1}
    assert of(values, "tickwire_book_resync_seconds_count") == {"": 3}
    audits = of(values, "tickwire_book_audit_total", "symbol", "against", "result")
    assert min(audits[symbol, "snapshot", "passed"] for symbol in ("BTCUSDT", "ETHUSDT")) >= 1  # refreshes
    assert sum(number for (_, _, result), number in audits.items() if result == "failed") == 0
    lags = of(values, "tickwire_book_lag_seconds_count", "stage")
    updates = sum(of(values, "tickwire_book_updates_total", "symbol").values())
    assert abs(lags["exchange"] - updates) <= 2  # the books go on while they are read
    assert lags["queue"] >= updates - 2


def rows_of_both_books(live: Live) -> list[BookTop | BookSnapshotRow]:
    """Wait for rows of both kinds of both books, and return all."""
    both = {(kind, symbol) for kind in (BookTop, BookSnapshotRow) for symbol in ("BTCUSDT", "ETHUSDT")}
    until(lambda: {(type(row), row.symbol) for row in live.rows()} == both, 20, lambda: f"rows of both books, not {live.rows()}")
    return live.rows()


def test_rows_for_the_store_and_the_report_are_those_of_live_books(live: Live) -> None:
    tops = [row for row in rows_of_both_books(live) if isinstance(row, BookTop)]
    assert {each.state for each in tops} == {"live"}
    assert len(tops) == len({(each.symbol, each.time) for each in tops})
    until(lambda: live.part("sources").get("binance-depth", {}).get("state") == "live", 20, lambda: str(live.part("sources")))
    [connection] = live.part("books")["connections"]
    assert connection["connected"]
    assert live.part("books")["symbols"]["BTCUSDT"]["gaps"] == {"missing_update": 1}


def test_rows_reach_the_store_and_its_readers(live: Live) -> None:
    """The writer of the jobs process takes what the process of the books has appended."""
    both = rows_of_both_books(live)
    appended = [row for row in both if row.symbol == "BTCUSDT"]
    stop = threading.Event()
    writer = threading.Thread(target=Writer(live.bus, live.store, BatchRule(100, 50), BookQueue(live.bus, utc_now)).run, args=(stop,))
    writer.start()
    try:
        until(lambda: live.bus.counts(topics.BOOK_TOPS)[1] >= len(both), 20, "the stored rows")
    finally:
        stop.set()
        writer.join(60)
    ask = create_app(live.settings, live.bus, live.store, utc_now, "1").test_client().get
    history: Any = ask("/book/history?symbol=BTCUSDT").json
    listed = {(row["time"], row["bid"], row["bid_qty"], row["ask"], row["update_id"]) for row in history["history"]}
    assert listed >= {(row.time, row.bid, row.bid_qty, row.ask, row.update_id) for row in appended if isinstance(row, BookTop)}
    assert len(listed) == len(history["history"]) > 0
    books_of_exchange: Any = ask("/book/snapshots?symbol=BTCUSDT").json
    found = {row["time"]: {"bids": row["bids"], "asks": row["asks"]} for row in books_of_exchange["snapshots"]}
    assert {row.time: row.body for row in appended if isinstance(row, BookSnapshotRow)}.items() <= found.items()
    gaps: Any = ask("/gaps?kind=book&symbol=BTCUSDT").json
    assert [(gap["reason"], gap["state"]) for gap in gaps["gaps"]] == [("missing_update", "filled"), ("disconnected", "filled")]
