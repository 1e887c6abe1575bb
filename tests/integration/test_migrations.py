"""The schema after the migrations, on a real PostgreSQL."""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
import pytest

from db import migrate
from db.instruments import all_instruments
from db.listing.query import RowFilter, read_page
from db.listing.tables import PRICES
from db.postgres import Store, StoreError
from db.prices import PriceRow, insert_prices
from db.sessions import all_sessions
from tests.conftest import Servers

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


def row(seq: int, price: str, time: str = "2014-05-05T00:00:23.668000Z", volume: str | None = None) -> PriceRow:
    return PriceRow("EUR_USD", time, time, price, price, price, volume, "test", "epoch", seq)


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
        assert insert_prices(cursor, [row(seq, price, volume=price) for seq, price in enumerate(prices, start=1)]) == len(prices)
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
        assert insert_prices(cursor, [row(1, "1"), row(2, "1")]) == 2
        assert insert_prices(cursor, [row(2, "1"), row(3, "1")]) == 1


def test_instrument_of_another_kind_is_refused(database_url: str) -> None:
    with pytest.raises(psycopg2.errors.CheckViolation):
        run(database_url, "INSERT INTO instruments VALUES ('X', 'X', 'bond', 2, 'synthetic')")
