"""`GET /market`: figures equal those of a plain computation from the stored hours."""

from __future__ import annotations

import gzip
import random
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any, cast
from zoneinfo import ZoneInfo

import orjson
import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.rest.market import overview
from config.settings import Settings
from db.bus import Bus
from db.candles import CandleRow, insert_candles
from db.instruments import add_instrument, enable_instrument, lock_instruments
from db.postgres import Cursor, Store
from db.rollup import roll_up
from db.timestamps import format_time
from tests.support.instruments import make_instrument

NEW_YORK = ZoneInfo("America/New_York")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SYMBOLS = ("EUR_USD", "BTCUSDT", "AAPL")
NAMES = ",".join(SYMBOLS)
NOON = datetime(2025, 11, 18, 12, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Hour:
    """One stored `1h` candle."""

    start: datetime
    open: str
    high: str
    low: str
    close: str

    @property
    def end(self) -> datetime:
        return self.start + HOUR


class RecordingCursor:
    """A cursor that notes its statements."""

    def __init__(self, cursor: Cursor, statements: list[str]) -> None:
        self._cursor = cursor
        self._statements = statements

    def execute(self, statement: Any, parameters: Any = None) -> None:
        self._statements.append(str(statement))
        self._cursor.execute(statement, parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


class RecordingStore(Store):
    """A store that notes its statements. `gate` holds each transaction back while it is closed."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.statements: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        self.entered.set()
        assert self.gate.wait(60)
        with super().transaction() as cursor:
            yield cast(Cursor, RecordingCursor(cursor, self.statements))

    def about(self, table: str) -> list[str]:
        """Return the statements that name the table."""
        return [each for each in self.statements if f"FROM {table} " in each.replace("\n", " ")]


@pytest.fixture(scope="module")
def store(shared_settings: Settings) -> Iterator[RecordingStore]:
    with closing(RecordingStore(str(shared_settings.database_url))) as store:
        yield store


@dataclass(slots=True)
class Clocks:
    """The clock of the app, and its monotonic one."""

    now: datetime = NOON
    monotonic: float = 0.0


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def client(shared_settings: Settings, shared_bus: Bus, store: RecordingStore, clocks: Clocks) -> FlaskClient:
    store.statements.clear()
    app = create_app(shared_settings, shared_bus, store, lambda: clocks.now, "1", monotonic=lambda: clocks.monotonic)
    return app.test_client()


def entries(client: FlaskClient, query: str = "") -> dict[str, Any]:
    answer = client.get(f"/market{query}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json["instruments"] if answer.json else {}
    return found


# the oracle


def day_of(symbol: str, moment: datetime) -> tuple[datetime, datetime]:
    """Return start and end of the trading day: FX days begin at 17:00 New York."""
    if symbol != "EUR_USD":
        start = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        return start, start + DAY
    local = moment.astimezone(NEW_YORK)
    begin = local.date() if local.time() >= time(17) else local.date() - DAY
    first, last = (datetime.combine(day, time(17), NEW_YORK).astimezone(UTC) for day in (begin, begin + DAY))
    return first, last


def expected(symbol: str, hours: list[Hour], now: datetime) -> dict[str, Any]:
    """Return reference, day and spark of an instrument with these hours."""
    days = {key: list(of_day) for key, of_day in groupby(hours, key=lambda hour: day_of(symbol, hour.start))}
    ended = [of_day for (_, end), of_day in days.items() if end <= now]
    running = days.get(day_of(symbol, now))
    day = None
    if running is not None:
        start, end = day_of(symbol, now)
        day = {
            "start_time": format_time(start),
            "end_time": format_time(end),
            "open": running[0].open,
            "high": max((hour.high for hour in running), key=Decimal),
            "low": min((hour.low for hour in running), key=Decimal),
        }
    return {
        "reference": ended[-1][-1].close if ended else None,
        "day": day,
        "spark": [hour.close for hour in hours if hour.end <= now][-24:],
    }


def is_open(symbol: str, start: datetime) -> bool:
    """Return True for the hours with candles."""
    local = start.astimezone(NEW_YORK)
    if symbol == "AAPL":
        return local.weekday() < 5 and 10 <= local.hour < 16
    closed = local.weekday() == 5 or (local.weekday() == 4 and local.hour >= 17) or (local.weekday() == 6 and local.hour < 17)
    return symbol == "BTCUSDT" or not closed


def made_hours(symbol: str, first: date, now: datetime) -> list[Hour]:
    """Return random hours up to the running one; closes have trailing zeros too."""
    numbers, hours = random.Random(f"{symbol} {first}"), []
    start = datetime.combine(first, time(), UTC)
    while start < now:
        if is_open(symbol, start):
            low, *between, high = (f"{each:.5f}" for each in sorted(round(numbers.uniform(1.0, 1.1), 4) for _ in range(4)))
            opened, closed = numbers.sample(between, 2)
            hours.append(Hour(start, opened, high, low, closed))
        start += HOUR
    return hours


def store_hours(store: Store, hours: dict[str, list[Hour]], now: datetime) -> None:
    """Replace all candles by these, and by what the roll-up makes of them."""
    rows = [
        CandleRow(symbol, "1h", format_time(hour.start), format_time(hour.end), (hour.open, hour.high, hour.low, hour.close),
                  None, None, "1", 1, hour.end <= now, "oanda")
        for symbol, of_symbol in hours.items() for hour in of_symbol
    ]  # fmt: skip
    with store.transaction() as cursor:
        cursor.execute("TRUNCATE candles, candle_marks")
        insert_candles(cursor, rows)
        roll_up(cursor, len(rows), now, ())


MOMENTS = [
    "2025-03-07T21:30Z",  # Friday, the last hour of the FX week in winter time
    "2025-03-08T12:00Z",  # Saturday: no running FX day
    "2025-03-09T21:00Z",  # Sunday, 17:00 of summer time: the FX week begins an hour sooner in UTC
    "2025-03-10T20:59:59Z",  # the last second of the first FX day of summer time
    "2025-03-10T21:00Z",
    "2025-10-31T20:30Z",  # Friday, the last hour of the FX week in summer time
    "2025-11-02T21:30Z",  # Sunday, 16:30 of winter time: not yet
    "2025-11-02T22:30Z",
    "2025-11-03T21:30Z",  # Monday, 16:30: still the FX day that began on Sunday
    "2025-11-03T22:00Z",
]


@pytest.mark.parametrize("moment", MOMENTS)
def test_figures_equal_a_plain_computation_from_the_stored_hours(
    client: FlaskClient, store: RecordingStore, clocks: Clocks, moment: str
) -> None:
    clocks.now = now = datetime.fromisoformat(moment)
    hours = {symbol: made_hours(symbol, (now - timedelta(days=5)).date(), now) for symbol in SYMBOLS}
    store_hours(store, hours, now)
    found = entries(client)
    for symbol in SYMBOLS:
        assert {name: found[symbol][name] for name in ("reference", "day", "spark")} == expected(symbol, hours[symbol], now), symbol
    assert {name: found["GBP_USD"][name] for name in ("reference", "day", "spark")} == {"reference": None, "day": None, "spark": []}
    assert {name: entries(client, f"?symbols={NAMES}")[name] for name in SYMBOLS} == {name: found[name] for name in SYMBOLS}


def test_days_of_clock_changes_have_23_and_25_hours(client: FlaskClient, store: RecordingStore, clocks: Clocks) -> None:
    for moment, length in (("2025-03-09T12:00Z", 23), ("2025-11-02T12:00Z", 25)):
        clocks.now = now = datetime.fromisoformat(moment)
        start, end = day_of("EUR_USD", now)
        assert (end - start) / HOUR == length
        hours = [
            Hour(start + index * HOUR, "1.1", f"1.{20 + index}", f"1.0{40 - index}", f"1.1{10 + index}") for index in range(-3, length)
        ]
        hours = [each for each in hours if each.start < now]
        store_hours(store, {"EUR_USD": hours}, now)
        clocks.monotonic += 10
        found = entries(client)["EUR_USD"]
        assert {name: found[name] for name in ("reference", "day", "spark")} == expected("EUR_USD", hours, now)
        assert found["day"]["end_time"] == format_time(end)


def test_price_is_the_newest_one_of_the_bus(client: FlaskClient, shared_bus: Bus, clocks: Clocks) -> None:
    stamp = shared_bus.cache_price("GBP_USD", bid="1.26990", ask="1.27010", mid="1.27000", time="2025-11-18T11:59:59.5Z")
    body = orjson.loads(shared_bus.latest_prices(["GBP_USD"])["GBP_USD"])
    answer = client.get("/market").json
    assert answer is not None
    assert answer.keys() == {"instruments", "count", "timestamp"}
    assert (answer["count"], answer["timestamp"]) == (31, "2025-11-18T12:00:00.000000Z")
    assert answer["instruments"]["GBP_USD"] == {
        "bid": "1.26990", "ask": "1.27010", "mid": "1.27000", "time": "2025-11-18T11:59:59.500000Z", "timestamp": body["timestamp"],
        "seq": stamp.seq, "epoch": stamp.epoch, "market_open": True, "stale_after": 120, "reference": None, "day": None, "spark": [],
    }  # fmt: skip
    silent = answer["instruments"]["USD_CHF"]
    assert [silent[name] for name in ("bid", "ask", "mid", "time", "timestamp", "seq", "epoch")] == [None] * 7
    assert answer["instruments"]["AAPL"]["market_open"] is False  # 07:00 in New York
    clocks.now, clocks.monotonic = datetime(2025, 11, 22, 12, tzinfo=UTC), 10.0  # a Saturday
    assert {symbol: entries(client)[symbol]["market_open"] for symbol in SYMBOLS} == {"EUR_USD": False, "BTCUSDT": True, "AAPL": False}


def test_candle_figures_are_one_statement_and_the_answer_is_kept_for_two_seconds(
    client: FlaskClient, shared_bus: Bus, store: RecordingStore, clocks: Clocks
) -> None:
    first = client.get("/market").data
    assert (len(store.about("candles")), len(store.about("prices")), len(store.statements)) == (1, 1, 2)
    shared_bus.cache_price("EUR_GBP", bid="0.83", ask="0.85", mid="0.84")
    clocks.monotonic = 1.99
    assert client.get("/market").data == first
    assert len(store.statements) == 2
    clocks.monotonic = 2.0
    assert entries(client)["EUR_GBP"]["mid"] == "0.84"
    assert (len(store.about("candles")), len(store.about("prices"))) == (2, 1)
    entries(client, f"?symbols={NAMES}")
    assert (len(store.about("candles")), len(store.about("prices"))) == (3, 1)
    clocks.monotonic = 59.9
    client.get("/market")
    assert len(store.about("prices")) == 1
    clocks.monotonic = 60.0
    client.get("/symbols")
    assert len(store.about("prices")) == 2


def test_concurrent_requests_wait_for_one_computation(client: FlaskClient, store: RecordingStore) -> None:
    store.gate.clear()
    store.entered.clear()
    answers: list[bytes] = []
    threads = [threading.Thread(target=lambda: answers.append(client.application.test_client().get("/market").data)) for _ in range(5)]
    for thread in threads:
        thread.start()
    assert store.entered.wait(60)
    store.gate.set()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 5
    assert len(set(answers)) == 1
    assert len(store.about("candles")) == 1


def test_callers_receive_the_instruments_that_they_may_read(shared_settings: Settings, shared_bus: Bus, store: RecordingStore) -> None:
    given = replace(shared_settings, anonymous_instruments=("EUR_*", "!EUR_CHF"))
    client = create_app(given, shared_bus, store, lambda: NOON, "1").test_client()
    found = client.get("/market").json
    assert found is not None
    assert sorted(found["instruments"]) == ["EUR_AUD", "EUR_CAD", "EUR_GBP", "EUR_JPY", "EUR_USD"]
    assert found["count"] == 5
    refused = client.get("/market?symbols=EUR_USD,BTCUSDT")
    assert refused.status_code == 403
    assert refused.json is not None
    assert refused.json["error"]["details"] == {"symbols": ["BTCUSDT"]}


@pytest.mark.parametrize(
    ("query", "status", "code", "named"),
    [
        ("?symbols=EUR_USD,NO_SUCH,NOR_THIS", 404, "unknown_instrument", ["NO_SUCH", "NOR_THIS"]),
        ("?symbols=NO_SUCH", 404, "unknown_instrument", ["NO_SUCH"]),
        ("?symbols=", 422, "invalid_payload", None),
        ("?symbols=EUR_USD&symbols=GBP_USD", 422, "invalid_payload", None),
        ("?symbols=" + ",".join(f"S{number}" for number in range(101)), 422, "invalid_payload", None),
        ("?symbols=EUR%00USD", 422, "invalid_payload", None),
        ("?symbol=EUR_USD", 422, "invalid_payload", None),
    ],
)
def test_invalid_request_names_its_fault(client: FlaskClient, query: str, status: int, code: str, named: list[str] | None) -> None:
    answer = client.get(f"/market{query}")
    assert answer.json is not None
    error = answer.json["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    if named is not None:
        assert error["details"] == {"symbols": named}


def test_disabled_instrument_answers_by_name_alone(client: FlaskClient, store: RecordingStore, clocks: Clocks) -> None:
    with store.transaction() as cursor:
        lock_instruments(cursor)
        add_instrument(cursor, make_instrument("XAG_USD", "Silver", "metal", 3, "oanda"))
        enable_instrument(cursor, "XAG_USD", enabled=False)
    assert "XAG_USD" not in entries(client)
    found = entries(client, "?symbols=XAG_USD,EUR_USD,XAG_USD")
    assert list(found) == ["XAG_USD", "EUR_USD"]
    assert (found["XAG_USD"]["mid"], found["XAG_USD"]["stale_after"]) == (None, 120)


def test_long_answer_is_compressed_if_the_client_accepts_it(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "PACKED_BYTES", 1000)
    plain = client.get("/market", headers={"Accept-Encoding": "identity"})
    packed = client.get("/market", headers={"Accept-Encoding": "br, gzip;q=0.5"})
    assert (plain.headers.get("Content-Encoding"), packed.headers["Content-Encoding"]) == (None, "gzip")
    assert gzip.decompress(packed.data) == plain.data
    for answer in (plain, packed):
        assert (answer.mimetype, "Accept-Encoding" in answer.vary) == ("application/json", True)
    assert "Content-Encoding" not in client.get("/market", headers={"Accept-Encoding": "gzip;q=0"}).headers
    assert "Content-Encoding" not in client.get("/market?symbols=EUR_USD", headers={"Accept-Encoding": "gzip"}).headers
