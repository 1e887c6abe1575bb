"""/candles, /market/trades and /gaps: each row once with all digits, in each format, streamed."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil
import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from api.app import create_app
from api.rest import listing as view
from config.settings import Settings
from db.bus import Bus
from db.candles import CandleRow, insert_candles
from db.intervals import INTERVALS
from db.messages import Trade, trade_lines
from db.partitions import make_months
from db.postgres import Store
from db.timestamps import format_time
from db.trades import insert_trades
from tests.conftest import until
from tests.support.examples import with_shared_fixtures
from tests.support.listings import MIMETYPES, Listed, Row, check_walk, expected, read, request
from tests.support.processes import Web

FIRST = datetime(2024, 2, 29, 20, tzinfo=UTC)  # candles and trades pass into another month, thus into another partition
OHLC = ("open", "high", "low", "close")
SOURCES = ["oanda", "trades", 'odd, "name"', "é €"]

few = with_shared_fixtures(max_examples=15)


def candle(number: int, symbol: str = "EUR_USD", interval: str = "1h") -> CandleRow:
    """Every third candle has neither bid nor ask; digits and sources vary."""
    start = FIRST + number * INTERVALS[interval]
    mid = (f"1.{number}000", f"1.{number}5", f"1.{number}", "0.00000100")
    bid = ask = None
    if number % 3:
        bid, ask = ("0.9", "0.95", f"0.{number}", "0.8"), ("1.9", "1.95", f"1.{number}0", "1.8")
    trades = None if number % 4 == 0 else number
    source = SOURCES[number % len(SOURCES)]
    return CandleRow(
        symbol, interval, format_time(start), format_time(start + INTERVALS[interval]), mid, bid, ask, "12.50", trades, number != 39, source
    )


def as_candle(row: CandleRow, prices: tuple[str, str, str, str]) -> Row:
    return {
        "start_time": row.start_time,
        "end_time": row.end_time,
        **dict(zip(OHLC, prices, strict=True)),
        "volume": row.volume,
        "complete": row.complete,
        "trades": row.trades,
        "source": row.source,
    }


CANDLE_ROWS = [candle(number) for number in range(40)]
# Several trades at one moment, with digits as exchanges send them.
TRADE_ROWS = [
    Trade("BTCUSDT", 1000 + n, format_time(FIRST + timedelta(hours=n // 4)), f"60000.{n}0", "0.00010000", "sell" if n % 3 else "buy")
    for n in range(40)
]
GAP_ROWS: list[Row] = [
    {
        "id": 0,
        "source": "oanda" if n % 2 else "binance",
        "symbol": "EUR_USD" if n % 2 else "BTCUSDT",
        "kind": "candles" if n % 2 else "trades",
        "interval": list(INTERVALS)[n // 2 % 6] if n % 2 else None,
        "first_id": None if n % 2 else n * 10,
        "last_id": None if n % 2 else n * 10 + 4,
        "start_time": format_time(FIRST + timedelta(hours=n // 5)),
        "end_time": format_time(FIRST + timedelta(hours=n // 5, minutes=1)),
        "missing": 5,
        "state": ("open", "filled", "unfillable")[n % 3],
        "reason": None if n % 3 == 1 else 'not "there",\nnor anywhere',
        "detected": format_time(FIRST + timedelta(days=1)),
        "updated": format_time(FIRST + timedelta(days=2)),
    }
    for n in range(40)
]

LISTED = [
    Listed(
        "/candles", {"symbol": "EUR_USD"}, "candles", "start_time", "EUR_USD_1h_candles", [as_candle(row, row.mid) for row in CANDLE_ROWS]
    ),
    Listed(
        "/candles",
        {"symbol": "EUR_USD", "interval": "1h", "price": "ask"},
        "candles",
        "start_time",
        "EUR_USD_1h_candles",
        [as_candle(row, row.ask) for row in CANDLE_ROWS if row.ask],
    ),
    Listed(
        "/market/trades",
        {"symbol": "BTCUSDT"},
        "trades",
        "time",
        "BTCUSDT_trades",
        [{name: value for name, value in row._asdict().items() if name != "symbol" and "order" not in name} for row in TRADE_ROWS],
    ),
    Listed("/gaps", {}, "gaps", "start_time", "gaps", GAP_ROWS),
    Listed(
        "/gaps", {"kind": "trades", "source": "binance"}, "gaps", "start_time", "gaps", [row for row in GAP_ROWS if row["interval"] is None]
    ),
]
each_listing = pytest.mark.parametrize("listed", LISTED, ids=lambda listed: f"{listed.path} {'&'.join(listed.query)}")


def fill(store: Store) -> None:
    others = [candle(number, "GBP_USD") for number in range(3)] + [candle(number, interval="5m") for number in range(3)]
    with store.transaction() as cursor:
        insert_candles(cursor, [*CANDLE_ROWS[::-1], *others])
        insert_trades(cursor, trade_lines([*TRADE_ROWS[::-1], TRADE_ROWS[0]._replace(symbol="ETHUSDT")]))
        for number, row in enumerate(GAP_ROWS, start=1):
            names = [name for name in row if name != "id"]
            cursor.execute(
                f"INSERT INTO gaps ({', '.join(names)}) VALUES ({', '.join(['%s'] * len(names))}) RETURNING id",  # noqa: S608
                [row[name] for name in names],
            )
            assert cursor.fetchall()[0][0] == number
            row["id"] = number


@pytest.fixture
def client(settings: Settings, bus: Bus, store: Store, clock: Callable[[], datetime]) -> FlaskClient:
    fill(store)
    return create_app(settings, bus, store, clock, "1.2.3").test_client()


@each_listing
def test_listing_returns_the_stored_rows(client: FlaskClient, listed: Listed) -> None:
    body = request(client, listed).json
    assert body.pop(listed.field) == listed.rows
    assert body.pop("next_page_token") is None
    assert body == {name: {"interval": "1h", **listed.query}[name] for name in body}
    assert list(body) == {"/candles": ["symbol", "interval"], "/market/trades": ["symbol"], "/gaps": []}[listed.path]
    assert [list(row) for row in request(client, listed).json[listed.field]] == [list(row) for row in listed.rows], (
        "fields in another order"
    )
    assert request(client, listed, order="desc").json[listed.field] == listed.rows[::-1]


@each_listing
@few
@given(
    limit=st.integers(1, 45),
    order=st.sampled_from(["asc", "desc"]),
    start=st.none() | st.integers(-1, 45),
    length=st.none() | st.integers(0, 45),
)
def test_pages_contain_each_row_once(
    client: FlaskClient, listed: Listed, limit: int, order: str, start: int | None, length: int | None
) -> None:
    begin = None if start is None else format_time(FIRST + start * timedelta(hours=1))
    end = None if length is None else format_time(FIRST + ((start or 0) + length) * timedelta(hours=1))
    check_walk(client, listed, (begin, end), limit=limit, order=order)


@each_listing
def test_export_contains_each_row_in_each_format(client: FlaskClient, listed: Listed, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, order, size in itertools.product(MIMETYPES, ["asc", "desc"], [1, 7, 10_000]):
        monkeypatch.setattr(view, "EXPORT_ROWS", size)
        with request(client, listed, format=kind, order=order) as answer:
            assert answer.mimetype == MIMETYPES[kind]
            assert answer.headers["Content-Disposition"] == f'attachment; filename="{listed.file}.{kind}"'
            assert read(kind, answer) == expected(kind, listed.rows if order == "asc" else listed.rows[::-1]), (kind, order, size)


@each_listing
def test_export_in_pages_contains_each_row_once(client: FlaskClient, listed: Listed) -> None:
    for kind in MIMETYPES:
        rows: list[Row] = []
        token: str | None = ""
        while token is not None:
            answer = request(client, listed, format=kind, limit=7, **({"page_token": token} if token else {}))
            rows += read(kind, answer)
            token = answer.headers.get("X-Next-Page-Token")
        assert rows == expected(kind, listed.rows), kind


def test_price_selects_bid_ask_or_mid_candles(client: FlaskClient) -> None:
    found = {price: client.get(f"/candles?symbol=EUR_USD&price={price}").json["candles"] for price in ("bid", "ask", "mid")}  # type: ignore[index]
    assert found["mid"] == client.get("/candles?symbol=EUR_USD").json["candles"]  # type: ignore[index]
    assert found["bid"] == [as_candle(row, row.bid) for row in CANDLE_ROWS if row.bid]
    assert found["ask"] == [as_candle(row, row.ask) for row in CANDLE_ROWS if row.ask]
    assert len(found["mid"]) > len(found["bid"]) > 0


def test_interval_selects_its_candles(client: FlaskClient) -> None:
    for interval in INTERVALS:
        answer = client.get(f"/candles?symbol=EUR_USD&interval={interval}").json
        assert answer is not None
        assert answer["interval"] == interval
        assert len(answer["candles"]) == {"1h": 40, "5m": 3}.get(interval, 0)


def test_listing_without_rows_is_empty(client: FlaskClient) -> None:
    for path in ("/candles?symbol=USD_JPY", "/market/trades?symbol=USD_JPY", "/gaps?symbol=USD_JPY"):
        answer = client.get(path).json
        assert answer is not None
        assert [value for value in answer.values() if isinstance(value, list)] == [[]]
        assert answer["next_page_token"] is None
        assert client.get(f"{path}&format=csv").text.count("\n") == 1
        assert client.get(f"{path}&format=ndjson").data == b""


def test_unknown_instrument_is_404(client: FlaskClient) -> None:
    for path in ("/candles?symbol=FOO", "/market/trades?symbol=FOO", "/gaps?symbol=FOO", "/gaps?symbol=FOO&format=csv"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert answer.json is not None
        assert answer.json["error"]["code"] == "unknown_instrument"
        assert list(answer.json["error"]["details"]) == ["symbol"]


def test_gaps_are_filtered_by_each_argument(client: FlaskClient) -> None:
    for name in ("source", "symbol", "kind", "state"):
        for value in {row[name] for row in GAP_ROWS}:
            answer = client.get("/gaps?" + urlencode({name: value})).json
            assert answer is not None
            assert answer["gaps"] == [row for row in GAP_ROWS if row[name] == value]


def test_token_of_another_listing_or_filter_is_refused(client: FlaskClient) -> None:
    def token(path: str) -> str:
        answer = client.get(path).json
        assert answer is not None
        return str(answer["next_page_token"])

    asked = {"/candles?symbol=EUR_USD&limit=1", "/market/trades?symbol=BTCUSDT&limit=1", "/gaps?limit=1", "/gaps?limit=1&kind=trades"}
    for path in asked:
        for other in asked:
            answer = client.get(f"{path}&page_token={token(other)}")
            assert answer.status_code == (200 if path == other else 422), (path, other)
    hourly = token("/candles?symbol=EUR_USD&limit=1&interval=1h")
    refused = client.get(f"/candles?symbol=EUR_USD&interval=5m&page_token={hourly}")
    assert refused.status_code == 422
    assert refused.json is not None
    assert list(refused.json["error"]["details"]) == ["page_token"]


def test_start_of_a_series_is_an_entry_of_its_own_kind(client: FlaskClient, store: Store) -> None:
    late = FIRST + timedelta(days=9)
    first = [Trade("ETHUSDT", 10_000_000 + number, format_time(late), "2", "1", "buy") for number in range(2)]
    anew = [Trade("ETHUSDT", number, format_time(late + timedelta(days=1)), "2", "1", "buy") for number in (7, 8)]
    with store.transaction() as cursor:
        for trades in (first, anew):
            insert_trades(cursor, trade_lines(trades), origin="live")
    answer: Any = client.get("/gaps?kind=series").json
    [row] = answer["gaps"]
    assert (row["source"], row["symbol"], row["kind"], row["state"], row["missing"]) == ("binance", "ETHUSDT", "series", "filled", 0)
    assert (row["first_id"], row["last_id"], row["interval"], row["reason"]) == (7, 7, None, None)
    assert row["start_time"] == anew[0].time
    assert client.get("/gaps?kind=ticks").status_code == 422


MANY = 300_000


@pytest.fixture
def rest(settings: Settings, store: Store, bus: Bus, tmp_path: Path) -> Iterator[Web]:
    """The REST process, with more trades in the store than it may keep in memory."""
    with store.transaction() as cursor:
        make_months(cursor, "raw_trades", ["2025-03"])
        for begin in range(0, MANY, 50_000):
            cursor.execute(
                "INSERT INTO raw_trades (symbol, time, trade_id, price, quantity, side) SELECT 'BTCUSDT',"
                " timestamptz '2025-03-01Z' + n * interval '0.25 seconds', n, 60000 + (n %% 1000) / 100.0, 0.00012, 'buy'"
                " FROM generate_series(%s, %s) AS n",
                (begin + 1, begin + 50_000),
            )
    with Web("rest", settings, tmp_path / "rest.log") as web:
        yield web


def test_large_export_is_streamed_and_holds_no_transaction(rest: Web, store: Store) -> None:
    worker = psutil.Process(rest.pid).children()[0]
    read_all(rest, "/market/trades?symbol=BTCUSDT&format=ndjson&limit=10000")
    before = most = worker.memory_info().rss
    with asked(rest, "/market/trades?symbol=BTCUSDT&format=ndjson") as connection:
        assert connection.recv(1)
        # The client reads no further. PostgreSQL must finish its work and hold no transaction.
        until(lambda: not at_work(store), what="the end of the database's work")
        raw = bytearray()
        while piece := connection.recv(1 << 20):
            raw += piece
            most = max(most, worker.memory_info().rss)
    assert raw.count(b'{"trade_id"') == raw.count(b'"side":"buy"}\n') == MANY
    assert raw.endswith(b"0\r\n\r\n"), "the last chunk is missing"
    assert len(raw) > 30e6
    assert most - before < 20e6


def read_all(rest: Web, path: str) -> None:
    with asked(rest, path) as connection:
        while connection.recv(1 << 20):
            pass


def asked(rest: Web, path: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", rest.port), timeout=60)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    return connection


def at_work(store: Store) -> list[Any]:
    """Return the database sessions of REST that are in a transaction."""
    with store.transaction() as cursor:
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'tickwire-rest' AND xact_start IS NOT NULL")
        return list(cursor.fetchall())
