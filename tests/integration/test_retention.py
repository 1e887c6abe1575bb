"""Monthly partitions on a real PostgreSQL: created and dropped without blocking other sessions."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import psycopg2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import Settings
from db import retention as old_rows
from db.access_log import AccessEvent, events_since, insert_event
from db.bus import Bus
from db.candles import CandleRow, insert_candles
from db.correlations import write_correlations
from db.job_runs import begin_run, end_run
from db.messages import Trade, trade_lines
from db.partitions import BOOKS, TABLES, make_months, partitions_before
from db.postgres import RowError, Store
from db.prices import PriceRow, insert_prices
from db.scenario_runs import latest_runs, save_run
from db.timestamps import format_time
from db.trades import insert_trades
from db.volatility import VolatilityRow, write_volatility
from jobs.runtime.context import JobContext
from jobs.scheduler import TIMED
from jobs.store import retention as retention_job
from jobs.store.retention import drop_old_partitions, make_coming_partitions, retention_days
from tests.support.book_rows import scenario_run
from tests.support.examples import with_shared_fixtures

KEEP_ALL = dict.fromkeys(TABLES, 0)


def names(store: Store, table: str) -> list[str]:
    """Months of a table: `2025-01`, …"""
    with store.transaction() as cursor:
        return [name.removeprefix(f"{table}_").replace("_", "-") for name in partitions_before(cursor, table, date(9999, 1, 1))]


def make(store: Store, *months: str, tables: tuple[str, ...] = TABLES) -> None:
    with store.transaction() as cursor:
        for table in tables:
            make_months(cursor, table, months)


@contextmanager
def reading(database_url: str, table: str) -> Iterator[None]:
    """Keep a transaction open that reads the table, like an export."""
    connection = psycopg2.connect(database_url)
    try:
        connection.cursor().execute(f"SELECT count(*) FROM {table}")  # noqa: S608 - the transaction stays open
        yield
    finally:
        connection.close()


# creation ahead


@pytest.mark.parametrize(
    ("today", "months"),
    [
        (date(2025, 11, 30), ["2025-11", "2025-12"]),
        (date(2025, 12, 31), ["2025-12", "2026-01"]),
        (date(2025, 1, 31), ["2025-01", "2025-02"]),
    ],
)
def test_this_month_and_the_next_are_created_ahead(store: Store, today: date, months: list[str]) -> None:
    for _ in range(2):
        make_coming_partitions(store, today)
        assert {table: names(store, table) for table in TABLES} == dict.fromkeys(TABLES, months)


def test_new_month_is_created_during_reads_and_writes(database_url: str) -> None:
    """CREATE … PARTITION OF would wait for the reader and time out."""
    hasty = Store(database_url, timeout_ms=3000)
    make(hasty, "2025-01")
    row = price("2025-01-05T00:00:00Z", 1)
    with reading(database_url, "prices"), hasty.transaction() as writing:
        insert_prices(writing, [row])
        with hasty.transaction() as cursor:
            make_months(cursor, "prices", ["2025-02"])
            with hasty.transaction() as another:  # while the month is created
                insert_prices(another, [replace(row, seq=2, occurrence=2)])
                another.execute("SELECT count(*) FROM prices")
    assert names(hasty, "prices") == ["2025-01", "2025-02"]
    hasty.close()


def test_month_has_the_keys_checks_and_defaults_of_its_table(store: Store) -> None:
    same = [trade("2025-01-05T00:00:00Z", 1)] * 2
    with store.transaction() as cursor:
        assert insert_trades(cursor, trade_lines(same)).new == 1
    with pytest.raises(RowError, match="side_check"), store.transaction() as cursor:
        insert_trades(cursor, trade_lines([trade("2025-01-05T00:00:00Z", 2)._replace(side="both")]))
    make(store, "2025-01")
    with store.transaction() as cursor:
        insert_candles(cursor, [candle("2025-01-05T00:00:00Z")])
        cursor.execute("SELECT updated = now(), tableoid::regclass::text FROM candles")
        assert cursor.fetchall() == [(True, "candles_2025_01")]
        cursor.execute("SELECT count(*) FROM pg_index WHERE indrelid = 'candles_2025_01'::regclass")
        assert cursor.fetchone() == (2,)


def test_table_without_partitions_is_unchanged(store: Store) -> None:
    """A hypertable creates its own chunks."""
    with store.transaction() as cursor:
        cursor.execute("CREATE TABLE chunked (time timestamptz)")
        make_months(cursor, "chunked", ["2025-01"])
        assert partitions_before(cursor, "chunked", date(9999, 1, 1)) == []
        cursor.execute("SELECT to_regclass('chunked_2025_01')")
        assert cursor.fetchone() == (None,)


# dropping


@pytest.mark.parametrize(
    ("today", "days", "left"),
    [
        (date(2026, 3, 2), 30, ["2026-01", "2026-02", "2026-03"]),  # older than 31 January: January is kept for its last day
        (date(2026, 3, 3), 30, ["2026-02", "2026-03"]),  # older than 1 February: all of January
        (date(2026, 3, 31), 30, ["2026-03"]),
        (date(2026, 3, 31), 1, ["2026-03"]),
        (date(2026, 3, 31), 36_500, ["2024-12", "2025-12", "2026-01", "2026-02", "2026-03"]),
        (date(2026, 3, 31), 0, ["2024-12", "2025-12", "2026-01", "2026-02", "2026-03"]),
    ],
)
def test_only_wholly_older_months_are_dropped(store: Store, today: date, days: int, left: list[str]) -> None:
    months = ["2024-12", "2025-12", "2026-01", "2026-02", "2026-03"]
    make(store, *months)
    dropped = drop_old_partitions(store, today, {**KEEP_ALL, "raw_trades": days})
    assert names(store, "raw_trades") == left
    assert dropped == [f"raw_trades_{month.replace('-', '_')}" for month in months if month not in left]
    assert names(store, "prices") == names(store, "candles") == months


@with_shared_fixtures(max_examples=10)
@given(today=st.dates(date(2024, 1, 1), date(2027, 12, 31)), days=st.integers(1, 1000))
def test_no_row_within_retention_is_dropped(store: Store, today: date, days: int) -> None:
    months = [f"{year}-{month:02}" for year in (2023, 2024, 2025, 2026) for month in (1, 2, 6, 12)]
    make(store, *months, tables=("prices",))
    drop_old_partitions(store, today, {"prices": days})
    oldest = today - timedelta(days=days)
    assert names(store, "prices") == [month for month in months if following(month) > oldest]


def following(month: str) -> date:
    return (date.fromisoformat(f"{month}-01") + timedelta(days=32)).replace(day=1)


def test_dropped_months_are_logged(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    make(store, "2025-01", "2026-03")
    with caplog.at_level(logging.INFO, "jobs.store.retention"):
        drop_old_partitions(store, date(2026, 3, 1), {**KEEP_ALL, "candles": 90})
    said = [(record.message, vars(record)["partition"], vars(record)["kept_days"]) for record in caplog.records]
    assert said == [("partition dropped", "candles_2025_01", 90)]


def test_month_with_a_reader_stays_until_the_next_run(store: Store, database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    make(store, "2025-01", "2026-03")
    keep = {"prices": 90, "candles": 90}
    with reading(database_url, "prices"):
        assert drop_old_partitions(store, date(2026, 3, 1), keep) == ["candles_2025_01"]  # the other table does not wait
    assert "old partitions of prices are not dropped this time" in caplog.text
    assert drop_old_partitions(store, date(2026, 3, 1), keep) == ["prices_2025_01"]


def test_rows_of_a_dropped_month_can_be_stored_again(store: Store) -> None:
    with store.transaction() as cursor:
        insert_prices(cursor, [price("2025-01-05T00:00:00Z", 1), price("2026-03-05T00:00:00Z", 2)])
    drop_old_partitions(store, date(2026, 3, 6), {"prices": 30})
    with store.transaction() as cursor:
        cursor.execute("SELECT seq FROM prices")
        assert cursor.fetchall() == [(2,)]
        assert insert_prices(cursor, [price("2025-01-05T00:00:00Z", 1)]).new == 1


# the job


def test_each_table_has_its_setting(settings: Settings) -> None:
    own = replace(settings, retention_prices=1, retention_trades=2, retention_candles=0)
    assert {table: retention_days(own)[table] for table in TABLES} == {"prices": 1, "raw_trades": 2, "candles": 0}
    assert {retention_days(settings)[table] for table in TABLES} == {730}


def test_job_creates_coming_months_and_drops_old_ones(settings: Settings, store: Store, bus: Bus) -> None:
    make(store, "2023-11", "2023-12")
    moment = datetime(2025, 12, 31, 0, 5, tzinfo=UTC)
    work = JobContext(replace(settings, retention_candles=0), bus, store, lambda: moment)
    assert TIMED["retention"].run(work, moment) == 4
    assert {table: names(store, table) for table in TABLES} == {
        "prices": ["2025-12", "2026-01"], "raw_trades": ["2025-12", "2026-01"], "candles": ["2023-11", "2023-12", "2025-12", "2026-01"],
    }  # fmt: skip


def test_books_are_dropped_and_runs_deleted_after_their_days(settings: Settings, bus: Bus, store: Store) -> None:
    """Months of books follow `RETENTION_BOOKS`; runs are always kept for two years."""
    now = datetime(2026, 3, 2, 0, 5, tzinfo=UTC)
    begun = {str(uuid.UUID(int=days)): now - timedelta(days=days) for days in (731, 729)}
    with store.transaction() as cursor:
        for run_id, started in begun.items():
            save_run(cursor, scenario_run(run_id, started))
    make(store, "2025-11", "2026-01", tables=BOOKS)
    for days, deleted, left in ((0, 1, ["2025-11", "2026-01"]), (30, 2, ["2026-01"])):
        work = JobContext(replace(settings, retention_books=days), bus, store, lambda: now)
        assert retention_job.retention_job(work, now) == deleted
        assert {table: names(store, table) for table in BOOKS} == {table: [*left, "2026-03", "2026-04"] for table in BOOKS}
    assert {retention_days(settings)[table] for table in BOOKS} == {90}
    with store.transaction() as cursor:
        assert [run.run_id for run in latest_runs(cursor, 9)] == list(begun)[1:]


def price(time: str, seq: int) -> PriceRow:
    return PriceRow("EUR_USD", time, time, "1", "1", "1", None, "test", "e1", seq)


def trade(time: str, trade_id: int) -> Trade:
    return Trade("BTCUSDT", trade_id, time, "1", "1", "buy")


def candle(time: str) -> CandleRow:
    end = format_time(datetime.fromisoformat(time) + timedelta(minutes=1))
    return CandleRow("EUR_USD", "1m", time, end, ("1", "1", "1", "1"), None, None, "1", None, True, "oanda")


# figures and runs


def test_figures_and_runs_are_deleted_with_the_candles(settings: Settings, bus: Bus, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(old_rows, "MAX_ROWS_PER_DELETE", 3)
    now = datetime(2025, 6, 15, 0, 5, tzinfo=UTC)
    times = [datetime(2025, 6, 5, 0, tzinfo=UTC) + timedelta(hours=hour) for hour in (-30, -20, -10, -1, 0, 1, 200)]
    with store.transaction() as cursor:
        write_volatility(cursor, [VolatilityRow("EUR_USD", "ewma", time, 0.1, 1.0, 24) for time in times])
        for time in times:
            write_correlations(cursor, time, "pearson", [("EUR_USD", "GBP_USD")], [0.5], [99])
            end_run(cursor, begin_run(cursor, "hourly_job", time, time), time, rows=1)

    def left() -> list[list[datetime]]:
        with store.transaction() as cursor:
            answers = []
            for table, column in (("volatility", "time"), ("correlations", "time"), ("job_runs", "started")):
                cursor.execute(f"SELECT {column} FROM {table} ORDER BY 1")  # noqa: S608
                answers.append([time for (time,) in cursor.fetchall()])
            return answers

    for days, deleted, kept in (("0", 0, times), ("10", 12, times[4:])):
        work = JobContext(replace(settings, retention_candles=int(days)), bus, store, lambda: now)
        assert retention_job.retention_job(work, now) == deleted
        assert left() == [kept] * 3


def test_closed_gaps_are_deleted_with_the_trades(settings: Settings, bus: Bus, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three gaps of each state and kind: before the limit, across it, after it."""
    monkeypatch.setattr(old_rows, "MAX_ROWS_PER_DELETE", 2)
    now = datetime(2025, 6, 15, 0, 5, tzinfo=UTC)
    limit, hour = datetime(2025, 6, 5, tzinfo=UTC), timedelta(hours=1)
    ends = (limit - hour, limit, limit + hour)
    with store.transaction() as cursor:
        for state in ("open", "filled", "unfillable"):
            for kind, interval in (("trades", None), ("candles", "1h")):
                for number, end in enumerate(ends):
                    cursor.execute(
                        "INSERT INTO gaps (source, symbol, kind, interval, first_id, last_id, start_time, end_time, missing, state,"
                        " detected, updated) VALUES ('s', %s, %s, %s, %s, %s, %s, %s, 1, %s, %s, %s)",
                        (state, kind, interval, number, number, end - 2 * hour, end, state, now, now),
                    )

    def left(state: str) -> list[datetime]:
        with store.transaction() as cursor:
            cursor.execute("SELECT end_time FROM gaps WHERE state = %s ORDER BY end_time", (state,))
            return [time for (time,) in cursor.fetchall()]

    all_of_them = [end for end in ends for _ in range(2)]
    for days, deleted, closed in ((0, 0, all_of_them), (10, 4, all_of_them[2:])):
        work = JobContext(replace(settings, retention_trades=days), bus, store, lambda: now)
        assert retention_job.retention_job(work, now) == deleted
        assert left("open") == all_of_them
        assert left("filled") == left("unfillable") == closed


def test_log_of_access_has_days_of_its_own(settings: Settings, bus: Bus, store: Store) -> None:
    now = datetime(2025, 6, 15, 0, 5, tzinfo=UTC)
    limit, hour = datetime(2025, 6, 5, tzinfo=UTC), timedelta(hours=1)
    times = [limit - hour, limit, limit + hour]
    with store.transaction() as cursor:
        for time in times:
            insert_event(cursor, AccessEvent(time, "rest", "refuse", ip="192.0.2.1", details={"count": 1}))
    for days, deleted, kept in ((0, 0, times), (10, 1, times[1:])):
        work = JobContext(replace(settings, retention_access_log=days), bus, store, lambda: now)
        assert retention_job.retention_job(work, now) == deleted
        with store.transaction() as cursor:
            assert [event.at for event in events_since(cursor)] == kept
