"""Migration 0018 on a real PostgreSQL: tops, whole books, gaps of books, runs of scenarios."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from db.book_gaps import BookGap, fill_book_gaps, save_book_gap, withdraw_book_gap
from db.book_rows import BookRow, insert_book_rows
from db.book_snapshots import insert_book_snapshots
from db.book_tops import insert_book_tops
from db.gaps import explain_open, open_gaps, reopen
from db.inserted import Inserted
from db.partitions import BOOKS, drop_partition, keep_days, partitions_before
from db.postgres import RowError, Store
from db.retention import delete_before
from db.scenario_runs import end_unfinished_runs, find_run, latest_runs, save_run
from tests.conftest import Servers, new_database
from tests.support.book_rows import SYMBOL, scenario_run, stored_book, top

NOON = datetime(2025, 11, 18, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module")
def store(servers: Servers) -> Iterator[Store]:
    with new_database(servers) as url, closing(Store(url)) as store:
        yield store


@pytest.fixture(autouse=True)
def empty_tables(store: Store) -> None:
    with store.transaction() as cursor:
        cursor.execute("TRUNCATE book_tops, book_snapshots, scenario_runs, gaps")


def select(store: Store, statement: str) -> list[tuple[Any, ...]]:
    with store.transaction() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


# tops and whole books


def test_top_is_stored_once_with_all_digits(store: Store) -> None:
    rows = [top(NOON), top(NOON + SECOND, 2), top(NOON)]
    for inserted in (Inserted(2, 1), Inserted(0, 3)):
        with store.transaction() as cursor:
            assert insert_book_tops(cursor, rows) == inserted
    first, second = select(
        store,
        "SELECT symbol, time, bid, bid_qty, ask, ask_qty, weighted_mid, imbalance, update_id, state, ask - bid"
        " FROM book_tops ORDER BY time",
    )
    assert first == (
        "BTCUSDT", NOON, "61837.63000000", "1.50000000", "61837.64000000", "0.50000000", "61837.6375", 0.5, 50093239225, "live",
        "0.01000000",
    )  # fmt: skip
    assert (second[1], second[3]) == (NOON + SECOND, "2.50000000")


def test_first_top_of_a_time_stays(store: Store) -> None:
    with store.transaction() as cursor:
        insert_book_tops(cursor, [top(NOON)])
        assert insert_book_tops(cursor, [top(NOON, 7), top(NOON, 8, symbol="ETHUSDT")]) == Inserted(1, 1)
    assert select(store, "SELECT symbol, bid_qty FROM book_tops ORDER BY 1") == [("BTCUSDT", "1.50000000"), ("ETHUSDT", "8.50000000")]


def test_whole_book_keeps_its_texts(store: Store) -> None:
    levels = [[f"0.{number:08}", "1.0"] for number in range(50, 0, -1)]
    book = stored_book(NOON, body={"bids": levels, "asks": []})
    for inserted in (Inserted(1, 0), Inserted(0, 1)):
        with store.transaction() as cursor:
            assert insert_book_snapshots(cursor, [book]) == inserted
    assert select(store, "SELECT symbol, time, update_id, body FROM book_snapshots") == [
        ("BTCUSDT", NOON, 50093239225, {"bids": levels, "asks": []})
    ]


def test_rows_of_both_kinds_go_into_their_tables_and_months(store: Store) -> None:
    december = datetime(2025, 12, 1, tzinfo=UTC)
    with store.transaction() as cursor:
        assert insert_book_rows(cursor, []) == Inserted()
        rows: list[BookRow] = [top(december - SECOND), stored_book(december), top(december), stored_book(december)]
        assert insert_book_rows(cursor, rows) == Inserted(3, 1)
    assert select(store, "SELECT tableoid::regclass::text FROM book_tops ORDER BY time") == [("book_tops_2025_11",), ("book_tops_2025_12",)]
    assert select(store, "SELECT tableoid::regclass::text FROM book_snapshots") == [("book_snapshots_2025_12",)]


def test_old_months_of_both_tables_can_be_dropped(store: Store) -> None:
    with store.transaction() as cursor:
        insert_book_rows(cursor, [top(datetime(2024, 3, 5, tzinfo=UTC)), stored_book(datetime(2024, 3, 6, tzinfo=UTC))])
        for table in BOOKS:
            keep_days(cursor, table, 90)  # without TimescaleDB: no effect
            assert partitions_before(cursor, table, date(2024, 4, 1)) == [f"{table}_2024_03"]
            drop_partition(cursor, f"{table}_2024_03")
            assert partitions_before(cursor, table, date(2024, 4, 1)) == []
        cursor.execute("SELECT (SELECT count(*) FROM book_tops) + (SELECT count(*) FROM book_snapshots)")
        assert cursor.fetchall() == [(0,)]


# gaps


GAPS = (
    "SELECT source, symbol, kind, first_id, last_id, start_time, end_time, missing, state, reason, detected, updated FROM gaps ORDER BY id"
)


def test_gap_is_open_until_the_return_to_live(store: Store) -> None:
    gap = BookGap(SYMBOL, NOON, "missing_update", 101, 107)
    with store.transaction() as cursor:
        save_book_gap(cursor, "binance", gap, NOON + SECOND)
    ids = ("binance", SYMBOL, "book", 101, 107, NOON)
    assert select(store, GAPS) == [(*ids, NOON + SECOND, 7, "open", "missing_update", NOON + SECOND, NOON + SECOND)]
    for _ in range(2):
        with store.transaction() as cursor:
            save_book_gap(cursor, "binance", replace(gap, end=NOON + 3 * SECOND), NOON + 4 * SECOND)
    filled = (*ids, NOON + 3 * SECOND, 7, "filled", "missing_update", NOON + SECOND, NOON + 4 * SECOND)
    assert select(store, GAPS) == [filled]


def test_gap_without_known_ids_has_no_number(store: Store) -> None:
    with store.transaction() as cursor:
        for _ in range(2):
            save_book_gap(cursor, "binance", BookGap(SYMBOL, NOON, "disconnected", end=NOON + SECOND), NOON + SECOND)
        save_book_gap(cursor, "binance", BookGap("ETHUSDT", NOON, "crossed", end=NOON), NOON)
    first, second = select(store, GAPS)
    assert first[3:10] == (None, None, NOON, NOON + SECOND, 0, "filled", "disconnected")
    assert second[6] > second[5]  # the end is exclusive


def test_gap_left_open_by_a_former_process_is_filled_by_the_next(store: Store) -> None:
    with store.transaction() as cursor:
        save_book_gap(cursor, "binance", BookGap(SYMBOL, NOON, "overflow"), NOON)
        save_book_gap(cursor, "binance", BookGap("ETHUSDT", NOON, "overflow"), NOON)
        assert fill_book_gaps(cursor, "binance", SYMBOL, NOON + 5 * SECOND, NOON + 6 * SECOND) == 1
        assert fill_book_gaps(cursor, "binance", SYMBOL, NOON + 9 * SECOND, NOON + 9 * SECOND) == 0
    found = [(row[1], row[6], row[8]) for row in select(store, GAPS)]
    assert found == [("BTCUSDT", NOON + 5 * SECOND, "filled"), ("ETHUSDT", NOON + timedelta(microseconds=1), "open")]


def test_open_gap_of_a_book_that_needed_no_snapshot_is_withdrawn(store: Store) -> None:
    silent, overflow = BookGap(SYMBOL, NOON, "silent"), BookGap(SYMBOL, NOON + SECOND, "overflow")
    filled = BookGap(SYMBOL, NOON + 2 * SECOND, "crossed", end=NOON + 3 * SECOND)
    with store.transaction() as cursor:
        for gap in (silent, overflow, filled):
            save_book_gap(cursor, "binance", gap, NOON)
        for gap in (silent, filled):
            withdraw_book_gap(cursor, "binance", gap)
    assert [(row[9], row[8]) for row in select(store, GAPS)] == [("overflow", "open"), ("crossed", "filled")]


def test_filler_of_trades_leaves_gaps_of_books_alone(store: Store) -> None:
    with store.transaction() as cursor:
        save_book_gap(cursor, "binance", BookGap(SYMBOL, NOON, "missing_update", 5, 6), NOON)
        before = _gaps(cursor)
        assert open_gaps(cursor, "binance") == []
        explain_open(cursor, "binance", "the exchange is away", NOON + SECOND)
        assert reopen(cursor, "binance", NOON + SECOND) == 0
        assert _gaps(cursor) == before


def _gaps(cursor: Any) -> list[tuple[Any, ...]]:
    cursor.execute(GAPS)
    return list(cursor.fetchall())


def test_kind_of_a_gap_is_checked(store: Store) -> None:
    with pytest.raises(RowError, match="gaps_kind_check"), store.transaction() as cursor:
        cursor.execute(
            "INSERT INTO gaps (source, symbol, kind, start_time, end_time, missing, state, detected, updated)"
            " VALUES ('s', 'x', 'books', now(), now(), 0, 'open', now(), now())"
        )


# runs


def test_run_is_inserted_then_its_figures_are_replaced(store: Store) -> None:
    number = str(uuid.uuid4())
    begun = scenario_run(number, NOON, ended=None, outcome="running", peak_queue=0, detect_seconds=None, recover_seconds=None, timeline=())
    ended = scenario_run(number, NOON)
    for run in (begun, begun, ended):
        with store.transaction() as cursor:
            save_run(cursor, run)
            assert find_run(cursor, number) == run
    assert select(store, "SELECT run_id::text, outcome, timeline -> 0 ->> 'second' FROM scenario_runs") == [(number, "finished", "0")]


def test_run_is_found_by_its_id_in_any_form(store: Store) -> None:
    run = scenario_run(str(uuid.uuid4()), NOON)
    with store.transaction() as cursor:
        save_run(cursor, run)
        assert find_run(cursor, run.run_id.upper()) == run
        assert find_run(cursor, str(uuid.uuid4())) is None
        for text in ("", "burst-mode", "\0", "1' OR true --"):
            assert find_run(cursor, text) is None


def test_latest_runs_come_first_and_unfinished_ones_fail_with_their_process(store: Store) -> None:
    runs = [scenario_run(str(uuid.uuid4()), NOON + minute * timedelta(minutes=1)) for minute in range(3)]
    lost = scenario_run(str(uuid.uuid4()), NOON + timedelta(hours=1), ended=None, outcome="running")
    with store.transaction() as cursor:
        for run in (*runs, lost):
            save_run(cursor, run)
        assert latest_runs(cursor, 3) == [lost, runs[2], runs[1]]
        assert end_unfinished_runs(cursor, NOON + timedelta(hours=2)) == 1
        assert end_unfinished_runs(cursor, NOON + timedelta(hours=3)) == 0
        failed = find_run(cursor, lost.run_id)
        assert failed is not None
        assert (failed.outcome, failed.ended) == ("failed", NOON + timedelta(hours=2))
        assert find_run(cursor, runs[0].run_id) == runs[0]


def test_runs_are_deleted_by_their_start(store: Store) -> None:
    limit = datetime(2025, 6, 5, tzinfo=UTC)
    runs = [scenario_run(str(uuid.uuid4()), limit + hours * timedelta(hours=1)) for hours in (-1, 0, 1)]
    with store.transaction() as cursor:
        for run in runs:
            save_run(cursor, run)
        assert delete_before(cursor, "scenario_runs", limit.date()) == 1
        assert latest_runs(cursor, 9) == [runs[2], runs[1]]
