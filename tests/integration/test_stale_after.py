"""`stale_after` of `/market` and `/symbols`: eight medians of the newest reception intervals."""

from __future__ import annotations

import math
import random
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import orjson
import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.rest.market.stale_after import stale_after
from config.settings import Settings
from db.bus import Bus
from db.postgres import Store
from db.prices import PriceRow, insert_prices
from db.timestamps import format_time
from tests.support.clients import node
from tests.support.processes import ROOT

NOON = datetime(2025, 11, 18, 12, 0, tzinfo=UTC)
SECOND = 1_000_000  # µs
FRESHNESS = ROOT / "clients" / "web" / "src" / "freshness.js"
Ask = Callable[[datetime], FlaskClient]


def median(values: list[int]) -> Fraction:
    ordered, middle = sorted(values), len(values) // 2
    return Fraction(ordered[middle] if len(values) % 2 else ordered[middle - 1] + ordered[middle]) / (1 if len(values) % 2 else 2)


def expected(intervals: list[int], otherwise: int) -> int:
    """The formula, for intervals in µs, the newest last."""
    if len(intervals) < 8:
        return otherwise
    return min(3600, max(15, math.ceil(8 * median(intervals[-32:]) / SECOND)))


def rows(symbol: str, intervals: list[int], last: datetime = NOON) -> list[PriceRow]:
    """Return prices whose receptions have these intervals; the newest is received at `last`.

    The times of the source are in the same order, at other distances.
    """
    found, received, time = [], last, last
    for number, step in enumerate([*reversed(intervals), 0]):
        found.append(
            PriceRow(
                symbol, format_time(time), format_time(received), "1.0", "1.2", "1.1", None, "oanda", "e1", 1000 - number, 1000 - number
            )
        )
        received -= timedelta(microseconds=step)
        time -= timedelta(seconds=1)
    return found[::-1]


def random_intervals(count: int) -> list[int]:
    numbers = random.Random(count)
    return [numbers.randint(1, 60 * SECOND) for _ in range(count)]


# symbol -> intervals between its receptions
INTERVALS: dict[str, list[int]] = {
    "AUD_NZD": [],  # one price
    "CHF_JPY": random_intervals(7),
    "AUD_JPY": random_intervals(8),
    "AUD_USD": random_intervals(31),
    "CAD_JPY": random_intervals(32),
    "EUR_AUD": [500 * SECOND] * 40 + random_intervals(32),  # older ones do not count
    "EUR_CAD": [SECOND // 5] * 32,
    "EUR_CHF": [2 * SECOND] * 16 + [2 * SECOND + 1] * 16,  # the median has half a microsecond
    "EUR_GBP": [40 * SECOND] * 20,
    "EUR_JPY": [900 * SECOND] * 32,
    "EUR_USD": [1_875_000] * 32,  # exactly 15 s
    "GBP_CHF": [48 * 3600 * SECOND] + [10 * SECOND] * 12,  # a weekend is one interval
}  # fmt: skip


@pytest.fixture(scope="module")
def store(shared_settings: Settings) -> Iterator[Store]:
    with closing(Store(str(shared_settings.database_url))) as store:
        with store.transaction() as cursor:
            insert_prices(cursor, [row for symbol, intervals in INTERVALS.items() for row in rows(symbol, intervals)], ())
        yield store


@pytest.fixture
def ask(shared_settings: Settings, shared_bus: Bus, store: Store) -> Ask:
    return lambda now: create_app(shared_settings, shared_bus, store, lambda: now, "1").test_client()


def values(client: FlaskClient, path: str) -> Mapping[str, int]:
    body = client.get(path).json
    assert body is not None
    if path == "/symbols":
        return {each["symbol"]: each["stale_after"] for each in body["symbols"]}
    return {symbol: each["stale_after"] for symbol, each in body["instruments"].items()}


@pytest.mark.parametrize("path", ["/symbols", "/market"])
def test_value_is_eight_medians_of_the_last_32_intervals(ask: Ask, path: str) -> None:
    found = values(ask(NOON), path)
    assert {symbol: found[symbol] for symbol in INTERVALS} == {
        symbol: expected(intervals, otherwise=120) for symbol, intervals in INTERVALS.items()
    }
    assert [found[symbol] for symbol in ("EUR_CAD", "EUR_CHF", "EUR_JPY", "EUR_USD")] == [15, 17, 3600, 15]
    assert len(found) == 31
    assert found["GBP_USD"] == 120  # without a price


def test_value_of_few_intervals_follows_the_source(shared_settings: Settings, shared_bus: Bus, store: Store) -> None:
    names = {"GBP_USD": "synthetic", "GBP_JPY": "replay:file.csv", "USD_CHF": "binance", "USD_JPY": "oanda", "NZD_USD": "scenario"}
    shared_bus.set_instruments(dict.fromkeys(names, "fx"), fed_by=names)
    for interval, made_up in ((1.0, 15), (3.0, 24), (2.6, 21), (7200.0, 57_600)):
        given = replace(shared_settings, ingestion_interval_seconds=interval)
        found = values(create_app(given, shared_bus, store, lambda: NOON, "1").test_client(), "/symbols")
        assert {symbol: found[symbol] for symbol in names} == {
            "GBP_USD": made_up, "GBP_JPY": made_up, "USD_CHF": 15, "USD_JPY": 120, "NZD_USD": 120,
        }  # fmt: skip
        assert found["BTCUSDT"] == 15  # of its source in production, as no source feeds it
        assert found["AUD_JPY"] == expected(INTERVALS["AUD_JPY"], otherwise=0)
    shared_bus.set_instruments({})


@pytest.mark.parametrize(("count", "seconds"), [(0, 120), (7, 120), (8, 16), (32, 16)])
def test_formula_needs_eight_intervals(count: int, seconds: int) -> None:
    assert stale_after(count, 2.0 * SECOND if count else None, "oanda", 3.0) == seconds


def test_quiet_pair_stays_live_a_silent_one_turns_stale_and_a_closed_one_never(ask: Ask, shared_bus: Bus) -> None:
    """The page's own rule decides, with values of the route."""
    pairs = ("EUR_GBP", "EUR_CAD", "AAPL")
    for symbol in pairs:
        shared_bus.cache_price(symbol, bid="1.0", ask="1.2", mid="1.1")
    body = ask(NOON).get("/market").json  # at 07:00 in New York shares do not trade
    assert body is not None
    rows_of_page = [
        {"mid": each["mid"], "at": 0, "marketOpen": each["market_open"], "staleAfter": each["stale_after"]}
        for each in (body["instruments"][symbol] for symbol in pairs)
    ]
    program = f"""
    const {{ state }} = await import({orjson.dumps(FRESHNESS.as_uri()).decode()});
    const rows = {orjson.dumps(rows_of_page).decode()};
    const at = [1, 14, 16, 60, 319, 321, 4000].map((age) => rows.map((row) => state(row, age * 1000, true).name));
    console.log(JSON.stringify(at));
    """
    run = subprocess.run([node(), "--input-type=module", "-e", program], capture_output=True, text=True, timeout=120, check=True)
    assert orjson.loads(run.stdout) == [
        ["live", "live", "closed"],  # 1 s
        ["live", "live", "closed"],
        ["live", "stale", "closed"],  # 16 s: five prices a second before
        ["live", "stale", "closed"],
        ["live", "stale", "closed"],  # 319 s: a price every 40 s before
        ["stale", "stale", "closed"],
        ["stale", "stale", "closed"],
    ]
