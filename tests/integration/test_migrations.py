"""The schema after the migrations, on a real PostgreSQL."""

from __future__ import annotations

import contextlib
import itertools
import logging
import multiprocessing
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
import pytest

from db import migrate
from db.gaps import advance_watermark
from db.instruments import all_instruments
from db.listing.query import RowFilter, read_page
from db.listing.tables import PRICES
from db.partitions import TABLES
from db.postgres import Store, StoreError
from db.prices import PriceRow, insert_prices
from db.rollup import is_mine, roll_up
from db.sessions import all_sessions
from db.trades import latest_ids
from tests.conftest import Servers, until

FX = {
    "EUR_USD", "GBP_USD", "USD_JPY", "USD_CHF", "AUD_USD", "USD_CAD", "NZD_USD", "EUR_GBP", "EUR_JPY", "EUR_CHF", "EUR_AUD", "EUR_CAD",
    "GBP_JPY", "GBP_CHF", "GBP_AUD", "AUD_JPY", "AUD_NZD", "CAD_JPY", "CHF_JPY", "NZD_JPY",
}  # fmt: skip
CRYPTO = {"BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "ADAUSDT", "XRPUSDT"}
EQUITIES = {"AAPL", "GOOGL", "MSFT", "TSLA", "AMZN"}
SOURCES = {"fx": "oanda", "crypto": "binance", "equity": "synthetic"}
_names = itertools.count()


@pytest.fixture
def empty_database(servers: Servers) -> Iterator[str]:
    """The URL of an empty database."""
    name, server = f"bare_{next(_names)}", servers.database_url.rsplit("/", 1)[0]
    run(f"{server}/postgres", f"CREATE DATABASE {name}")
    yield f"{server}/{name}"
    run(f"{server}/postgres", f"DROP DATABASE {name} WITH (FORCE)")


def run(url: str, statement: str) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def files() -> list[str]:
    """Names of the migrations, in the order of their numbers."""
    return sorted(file.stem for file in (Path(migrate.__file__).parent / "migrations").glob("*.sql"))


def test_instruments_equal_the_contract(store: Store) -> None:
    with store.transaction() as cursor:
        instruments = all_instruments(cursor)
    kinds = {kind: {each.symbol for each in instruments if each.kind == kind} for kind in SOURCES}
    assert kinds == {"fx": FX, "crypto": CRYPTO, "equity": EQUITIES}
    assert len(instruments) == 31
    for each in instruments:
        assert each.source == SOURCES[each.kind]
        assert each.name not in ("", each.symbol)
        if each.kind == "fx":
            assert each.precision == (3 if each.symbol.endswith("_JPY") else 5)
        else:
            assert each.precision == (4 if each.symbol in ("ADAUSDT", "XRPUSDT") else 2)


def test_sessions_are_four_with_zone_names(store: Store) -> None:
    with store.transaction() as cursor:
        sessions = {each.name: each for each in all_sessions(cursor)}
    assert {name: each.zone for name, each in sessions.items()} == {
        "Sydney": "Australia/Sydney", "Tokyo": "Asia/Tokyo", "London": "Europe/London", "New York": "America/New_York",
    }  # fmt: skip
    for each in sessions.values():
        assert each.weekdays == (1, 2, 3, 4, 5)
        assert each.opens < each.closes


def test_migrations_are_applied_once_and_in_order(empty_database: str) -> None:
    assert migrate.apply(empty_database) == files()
    assert migrate.apply(empty_database) == []
    assert run(empty_database, "SELECT count(*) FROM instruments") == [(31,)]


def test_concurrent_migrations_run_one_after_the_other(empty_database: str) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        applied = pool.map(migrate.apply, [empty_database] * 2, chunksize=1)
    assert sorted(applied) == [[], files()]
    assert run(empty_database, "SELECT count(*) FROM instruments") == [(31,)]


def test_failed_migration_is_rolled_back(empty_database: str) -> None:
    run(empty_database, "CREATE TABLE market_sessions (name text)")  # the second statement fails because of it
    with pytest.raises(StoreError, match="market_sessions"):
        migrate.apply(empty_database)
    assert run(empty_database, "SELECT to_regclass('instruments')") == [(None,)]
    run(empty_database, "DROP TABLE market_sessions")
    assert migrate.apply(empty_database) == files()


LOCK = "INSERT INTO yoyo_lock (locked, ctime, pid) VALUES (1, now() AT TIME ZONE 'UTC', 4242)"


def test_second_migration_waits_and_names_the_first(
    database_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "_ABANDONED_SECONDS", 0.0)  # the session of the first one lives
    with contextlib.closing(psycopg2.connect(database_url)) as first, ThreadPoolExecutor(1) as threads:
        first.autocommit = True
        first.cursor().execute(LOCK)
        with caplog.at_level(logging.INFO, "db.migrate"):
            second = threads.submit(migrate.apply, database_url)
            until(lambda: "waiting for a migration of pid 4242" in caplog.messages, what="the line about the first migration")
            assert not second.done()
            first.cursor().execute("DELETE FROM yoyo_lock")
            assert second.result(60) == []
    assert set(caplog.messages) == {"waiting for a migration of pid 4242"}


def test_lock_of_a_killed_migration_is_removed(
    database_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "_ABANDONED_SECONDS", 0.0)
    run(database_url, LOCK)
    assert migrate.apply(database_url) == []
    assert "the lock of a migration that has ended is removed" in caplog.messages
    assert run(database_url, "SELECT count(*) FROM yoyo_lock") == [(0,)]


def row(seq: int, price: str, time: str = "2014-05-05T00:00:23.668000Z", volume: str | None = None) -> PriceRow:
    """The quote `seq` of its time: `seq` is its occurrence too."""
    return PriceRow("EUR_USD", time, time, price, price, price, volume, "test", "epoch", seq, seq)


def test_prices_are_numeric_by_column(store: Store) -> None:
    with store.transaction() as cursor:
        cursor.execute(
            "SELECT column_name, data_type, numeric_precision FROM information_schema.columns "
            "WHERE table_name = 'prices' AND column_name IN ('bid', 'ask', 'mid', 'volume')"
        )
        assert {tuple(found) for found in cursor.fetchall()} == {(name, "numeric", None) for name in ("bid", "ask", "mid", "volume")}


def test_prices_keep_their_digits(store: Store) -> None:
    """Also trailing zeros: no value is rounded, padded or converted to a binary float."""
    prices = ["1.38710", "1.3871", "0.1", "100", "0.000000000000000001", "123456789012345678901234.123456789012345678901234"]
    with store.transaction() as cursor:
        assert insert_prices(cursor, [row(seq, price, volume=price) for seq, price in enumerate(prices, start=1)]).new == len(prices)
        lines = read_page(cursor, PRICES, RowFilter({"symbol": "EUR_USD"}), 100, "csv").lines.decode().splitlines()
        cursor.execute("SELECT mid FROM prices ORDER BY seq")
        assert [mid for (mid,) in cursor.fetchall()] == prices
    assert [line.split(",")[3:7] for line in lines] == [[price] * 4 for price in prices]


def test_prices_are_partitioned_by_the_source_s_month(store: Store) -> None:
    months = {
        "2014-05-31T23:59:59.999999Z": "prices_2014_05",
        "2014-06-01T00:00:00.000000Z": "prices_2014_06",
        "2025-12-31T00:00:00.000000Z": "prices_2025_12",
    }
    with store.transaction() as cursor:
        insert_prices(cursor, [row(seq, "1", time) for seq, time in enumerate(months, start=1)])
        cursor.execute("SELECT tableoid::regclass::text FROM prices ORDER BY seq")
        assert [name for (name,) in cursor.fetchall()] == list(months.values())


def test_repeated_price_is_stored_once(store: Store) -> None:
    with store.transaction() as cursor:
        assert insert_prices(cursor, [row(1, "1"), row(2, "1")]).new == 2
        assert insert_prices(cursor, [row(2, "1"), row(3, "1")]).new == 1


def test_instrument_of_another_kind_is_refused(database_url: str) -> None:
    with pytest.raises(psycopg2.errors.CheckViolation):
        run(database_url, "INSERT INTO instruments VALUES ('X', 'X', 'share', 2, 'synthetic', 'USD', 'equity')")


# the step to identity by content

DAY = "2025-11-18T12:"
TRADE_VALUES = (
    ("BTCUSDT", 100, f"{DAY}30:00.001Z", 1), ("BTCUSDT", 101, f"{DAY}30:01.000Z", 1), ("BTCUSDT", 104, f"{DAY}31:00.000Z", 1),
    ("BTCUSDT", 101, f"{DAY}45:01.000123Z", 1),  # a second time: stored twice
    ("BTCUSDT", 104, "2010-01-01T00:00:00Z", 1),  # likewise, before the exchange existed
    ("BTCUSDT", 105, "2099-01-01T00:00:00Z", 1),  # after now
    ("BTCUSDT", 900_000_000, f"{DAY}32:00.000Z", 1),  # a wild id
    ("ETHUSDT", 7, f"{DAY}30:00.000Z", 1), ("ETHUSDT", 7, f"{DAY}50:00.000Z", 2),  # an id of two trades
)  # fmt: skip


@pytest.fixture
def former_database(empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a database of the version before, with rows that this version does not take."""
    former = tmp_path / "migrations"
    former.mkdir()
    for name in files():
        if name < "0008":
            shutil.copy(Path(migrate.__file__).parent / "migrations" / f"{name}.sql", former)
    with monkeypatch.context() as patch:
        patch.setattr(migrate, "_MIGRATIONS", former)
        migrate.apply(empty_database)
    for table in TABLES:
        for first, end in (
            ("1970-06-01", "1970-07-01"),
            ("2010-01-01", "2010-02-01"),
            ("2025-11-01", "2025-12-01"),
            ("2099-01-01", "2099-02-01"),
        ):
            name = f"{table}_{first[:7].replace('-', '_')}"
            run(empty_database, f"CREATE TABLE {name} PARTITION OF {table} FOR VALUES FROM ('{first}T00:00:00Z') TO ('{end}T00:00:00Z')")
    trades = ", ".join(f"('{symbol}', {number}, '{time}', 1.5, {quantity}, 'buy')" for symbol, number, time, quantity in TRADE_VALUES)
    prices = ", ".join(
        f"('EUR_USD', '{time}', now(), 1.10, 1.2, {mid}, '{source}', '{epoch}', {seq})"
        for time, mid, source, epoch, seq in (
            (f"{DAY}30:00Z", "1.15", "oanda", "b", 2), (f"{DAY}30:00Z", "1.150", "oanda", "b", 1),
            (f"{DAY}30:00Z", "1.15", "file:x", "a", 9), (f"{DAY}30:00Z", "1.15", "hourly_job", "b", 3),
            (f"{DAY}30:00Z", "1.16", "oanda", "b", 4),
            ("1970-06-01T00:00:00Z", "1.15", "oanda", "b", 5), ("2099-01-01T00:00:00Z", "1.15", "oanda", "b", 6),
        )
    )  # fmt: skip
    run(
        empty_database,
        f"INSERT INTO raw_trades (symbol, trade_id, time, price, quantity, side) VALUES {trades};"  # noqa: S608
        f"INSERT INTO prices (instrument, time, received, bid, ask, mid, source, epoch, seq) VALUES {prices};"
        "INSERT INTO trade_watermarks VALUES ('BTCUSDT', 105, '2099-01-01Z'), ('ETHUSDT', 7, '2025-11-18T12:30Z');"
        "INSERT INTO gaps (source, symbol, kind, first_id, last_id, start_time, end_time, missing, state, detected, updated)"
        " VALUES ('binance', 'BTCUSDT', 'trades', 102, 103, now(), now(), 2, 'open', now(), now());"
        "INSERT INTO backfills SELECT source, '', '', '-infinity', 'infinity', '', true, now()"
        " FROM unnest('{binance,oanda,file:x#1}'::text[]) AS source",
    )
    return empty_database


def test_rows_of_the_version_before_stay_except_trades_stored_twice(former_database: str) -> None:
    assert migrate.apply(former_database) == [name for name in files() if name >= "0008"]
    assert run(former_database, "SELECT count(*) FROM prices") == [(7,)]
    trades = run(former_database, "SELECT symbol, trade_id, series, time::text FROM raw_trades ORDER BY symbol, trade_id, series")
    assert trades == [
        ("BTCUSDT", 100, 1, "2025-11-18 12:30:00.001+00"), ("BTCUSDT", 101, 1, "2025-11-18 12:30:01+00"),
        ("BTCUSDT", 104, 1, "2025-11-18 12:31:00+00"), ("BTCUSDT", 105, 1, "2099-01-01 00:00:00+00"),
        ("BTCUSDT", 900_000_000, 1, "2025-11-18 12:32:00+00"),
        ("ETHUSDT", 7, 1, "2025-11-18 12:30:00+00"), ("ETHUSDT", 7, 2, "2025-11-18 12:50:00+00"),
    ]  # fmt: skip
    marks = run(former_database, "SELECT symbol, minute::text FROM candle_marks ORDER BY minute")
    assert marks == [
        ("BTCUSDT", f"{day}:00+00") for day in ("2010-01-01 00:00", "2025-11-18 12:30", "2025-11-18 12:31", "2025-11-18 12:45")
    ]  # fmt: skip


def test_equal_prices_of_the_version_before_are_numbered(former_database: str) -> None:
    migrate.apply(former_database)
    rows = run(
        former_database, "SELECT mid, source, epoch, seq, occurrence FROM prices WHERE time = '2025-11-18T12:30Z' ORDER BY epoch, seq"
    )
    assert [(str(mid), *row) for mid, *row in rows] == [
        ("1.15", "file:x", "a", 9, 1), ("1.150", "oanda", "b", 1, 2), ("1.15", "oanda", "b", 2, 3), ("1.15", "hourly_job", "b", 3, 0),
        ("1.16", "oanda", "b", 4, 1),
    ]  # fmt: skip


def test_watermarks_of_the_version_before_ignore_wild_rows(former_database: str) -> None:
    migrate.apply(former_database)
    series = run(
        former_database, "SELECT symbol, series, first_id, highest_id, unconfirmed, highest_time::text FROM trade_series ORDER BY 1"
    )
    assert series == [
        ("BTCUSDT", 1, 100, 104, [900_000_000], "2025-11-18 12:31:00+00"), ("ETHUSDT", 1, 7, 7, [], "2025-11-18 12:30:00+00"),
    ]  # fmt: skip
    assert run(former_database, "SELECT symbol, series, first_id, trade_id FROM trade_watermarks") == [("ETHUSDT", 1, 7, 7)]
    store = Store(former_database)
    with store.transaction() as cursor:
        assert advance_watermark(cursor, "binance", "BTCUSDT", datetime.now(UTC)).holes == 0  # 102 to 103 are known
        assert latest_ids(cursor, ["BTCUSDT", "ETHUSDT"]) == {"BTCUSDT": 104, "ETHUSDT": 7}
    store.close()
    assert run(former_database, "SELECT symbol, trade_id FROM trade_watermarks ORDER BY 1") == [("BTCUSDT", 104), ("ETHUSDT", 7)]
    assert run(former_database, "SELECT first_id, last_id, series FROM gaps") == [(102, 103, 1)]


def test_histories_without_proof_are_fetched_again(former_database: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "db.migrate"):
        migrate.apply(former_database)
    assert dict(run(former_database, "SELECT source, finished FROM backfills")) == {"binance": False, "oanda": False, "file:x#1": True}
    notes = [record.getMessage() for record in caplog.records if record.name == "db.migrate"]
    assert notes == [
        "2 trades were stored twice under two times and are now stored once", "prices: 2 rows outside the window of time",
        "raw_trades: 1 rows outside the window of time", "candles: 0 rows outside the window of time",
    ]  # fmt: skip


def test_candles_of_trades_stored_twice_are_right(former_database: str) -> None:
    """The version before counted the second row; a minute without other trades has no candle."""
    run(
        former_database,
        "INSERT INTO candles (symbol, interval, start_time, end_time, open, high, low, close, volume, trades, complete, source)"
        " SELECT 'BTCUSDT', width, start, candle_end('crypto', width, start), 1.5, 1.5, 1.5, 1.5, 9, 9, true, 'trades' FROM ("
        "  SELECT DISTINCT width, candle_start('crypto', width, minute) AS start FROM unnest('{1m,5m,15m,1h,4h,1d}'::text[]) AS width,"
        "   unnest('{2010-01-01T00:00Z,2025-11-18T12:30Z,2025-11-18T12:31Z,2025-11-18T12:45Z}'::timestamptz[]) AS minute) AS made",
    )
    migrate.apply(former_database)
    store = Store(former_database)
    with store.transaction() as cursor:
        assert is_mine(cursor)
        roll_up(cursor, 1000, datetime.now(UTC), [])
    store.close()
    candles = run(former_database, "SELECT interval, start_time::text, volume::text, trades FROM candles ORDER BY interval, start_time")
    start = "2025-11-18 12:"
    assert candles == [
        ("15m", f"{start}30:00+00", "3", 3), ("1d", "2025-11-18 00:00:00+00", "3", 3), ("1h", f"{start}00:00+00", "3", 3),
        ("1m", f"{start}30:00+00", "2", 2), ("1m", f"{start}31:00+00", "1", 1), ("4h", f"{start}00:00+00", "3", 3),
        ("5m", f"{start}30:00+00", "3", 3),
    ]  # fmt: skip
