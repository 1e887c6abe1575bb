"""Every route but /ticks, on real servers."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis as redis_client
from flask import Flask
from flask.testing import FlaskClient

from api.app import create_app
from config.settings import Settings
from db import topics
from db.bus import Bus
from db.postgres import Store
from tests.support.registry import report_sources

Clock = Callable[[], datetime]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
PRICE = {"bid": "1.38700", "ask": "1.38720", "mid": "1.38710", "time": "2014-05-05T00:00:00.123456Z"}


@pytest.fixture
def app(settings: Settings, bus: Bus, store: Store, clock: Clock) -> Flask:
    return create_app(settings, bus, store, clock, "1.2.3")


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def at(moment: datetime, settings: Settings, bus: Bus, store: Store) -> FlaskClient:
    """Return a client of an application whose clock always returns `moment`."""
    return create_app(settings, bus, store, lambda: moment, "1.2.3").test_client()


def test_front_page_is_json_or_html_according_to_accept(client: FlaskClient) -> None:
    body = client.get("/", headers={"Accept": "application/json"}).json
    assert body is not None
    assert body["version"] == "1.2.3"
    assert {"/health", "/symbols", "/price/latest", "/ticks", "/sessions"} <= set(body["routes"])
    for accept in ("text/html,application/xhtml+xml,*/*;q=0.8", "*/*"):
        page = client.get("/", headers={"Accept": accept})
        assert page.mimetype == "text/html"
        assert "ui/app.css" in page.text


def test_health_with_both_servers_is_healthy(client: FlaskClient, bus: Bus) -> None:
    bus.cache_price("EUR_USD", **PRICE)
    report_sources(bus, {"synthetic": {"state": "live", "ticks": 7}})
    answer = client.get("/health")
    body = answer.json
    assert body is not None
    assert answer.status_code == 200
    assert (body["status"], body["database"], body["redis"]) == ("healthy", "connected", "connected")
    assert body["sources"]["synthetic"]["state"] == "live"
    assert body["sources"]["synthetic"]["ticks"] == 7
    assert body["failing"] == []
    assert body["hub"] == "unknown"
    assert body["writer"] == {"unstored": 1, "oldest_age_seconds": 0.1, "parked": 0, "last_parked": None}
    assert body["version"] == "1.2.3"
    assert body["uptime_seconds"] >= 0
    assert TIME.fullmatch(body["timestamp"])


def test_source_of_a_process_without_recent_report_is_stale(settings: Settings, bus: Bus, store: Store, clock: Clock) -> None:
    report_sources(bus, {"synthetic": {"state": "live"}})
    later = at(clock() + timedelta(seconds=16), settings, bus, store).get("/health").json
    assert later is not None
    assert later["sources"]["synthetic"]["state"] == "stale"
    assert later["sources"]["synthetic"]["last_state"] == "live"
    assert later["failing"] == ["jobs", "source:synthetic"]


@pytest.mark.parametrize("key", [topics.PROCESSES_KEY, topics.HEALTH])
def test_key_of_another_type_makes_the_bus_impaired(client: FlaskClient, bus: Bus, raw_redis: redis_client.Redis, key: str) -> None:
    report_sources(bus, {})
    raw_redis.set(key, "text")
    answer = client.get("/health")
    assert answer.json is not None
    assert (answer.status_code, answer.json["failing"], answer.json["redis"]) == (503, ["bus"], "impaired")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/health/live", {"status": "alive"}),
        ("/health/ready", {"status": "ready", "database": "connected", "redis": "connected"}),
        ("/health/db", {"status": "healthy", "database": "connected"}),
        ("/health/binance", {"status": "not_configured", "source": None}),
    ],
)
def test_part_of_health_has_its_own_route(client: FlaskClient, path: str, expected: dict[str, Any]) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.json is not None
    assert expected.items() <= answer.json.items()


def test_health_of_binance_is_that_of_its_report(client: FlaskClient, bus: Bus) -> None:
    for state in ("connecting", "live", "stale", "backing_off", "down"):
        report_sources(bus, {"binance": {"state": state, "ticks": 7, "trades": 12}})
        answer = client.get("/health/binance")
        assert answer.status_code == 200
        assert answer.json is not None
        assert (answer.json["status"], answer.json["source"]["state"], answer.json["source"]["trades"]) == (state, state, 12)
        everything = client.get("/health").json
        assert everything is not None
        assert everything["sources"]["binance"]["state"] == state


def test_database_without_schema_is_not_ready(client: FlaskClient, store: Store) -> None:
    with store.transaction() as cursor:
        cursor.execute("DROP TABLE prices CASCADE")
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json and answer.json["database"]) == (503, "not_migrated")


def test_database_without_the_last_migration_is_not_ready(client: FlaskClient, store: Store) -> None:
    assert client.get("/health/ready").status_code == 200
    with store.transaction() as cursor:
        cursor.execute("DELETE FROM _yoyo_migration WHERE migration_id = (SELECT max(migration_id) FROM _yoyo_migration)")
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json and answer.json["database"]) == (503, "not_migrated")


def test_symbols_list_has_each_instrument_with_its_last_price_time(client: FlaskClient, bus: Bus) -> None:
    bus.cache_price("EUR_USD", **PRICE)
    body = client.get("/symbols").json
    assert body is not None
    assert body["count"] == len(body["symbols"]) == 31
    by_name = {each["symbol"]: each for each in body["symbols"]}
    assert by_name["EUR_USD"] == {
        "symbol": "EUR_USD",
        "name": "Euro / US Dollar",
        "kind": "fx",
        "precision": 5,
        "currency": "USD",
        "calendar": "fx",
        "source": "oanda",
        "fed_by": None,
        "enabled": True,
        "market_open": by_name["GBP_USD"]["market_open"],
        "stale_after": 120,
        "last_price_time": PRICE["time"],
    }
    assert by_name["BTCUSDT"]["market_open"] is True
    assert by_name["BTCUSDT"]["last_price_time"] is None


@pytest.mark.parametrize(
    ("moment", "fx", "equity", "open_sessions"),
    [
        (datetime(2025, 11, 18, 14, 30, tzinfo=UTC), True, True, {"London", "New York"}),  # 09:30 in New York
        (datetime(2025, 11, 18, 13, 30, tzinfo=UTC), True, False, {"London", "New York"}),  # 08:30
        (datetime(2025, 7, 15, 13, 30, tzinfo=UTC), True, True, {"London", "New York"}),  # 09:30: summer time
        (datetime(2025, 11, 18, 21, 0, tzinfo=UTC), True, False, {"New York", "Sydney"}),  # 16:00
        (datetime(2025, 11, 27, 15, 0, tzinfo=UTC), True, False, {"London", "New York"}),  # Thanksgiving
        (datetime(2025, 11, 28, 18, 0, tzinfo=UTC), True, False, {"New York"}),  # the day after it closes at 13:00
        (datetime(2025, 11, 23, 21, 0, tzinfo=UTC), False, False, {"Sydney"}),  # a Sunday, 16:00 in New York
        (datetime(2025, 11, 23, 22, 0, tzinfo=UTC), True, False, {"Sydney"}),  # 17:00
        (datetime(2025, 11, 22, 13, 30, tzinfo=UTC), False, False, set()),  # a Saturday
    ],
)
def test_symbols_follow_calendars_and_sessions_their_hours(
    settings: Settings, bus: Bus, store: Store, moment: datetime, fx: bool, equity: bool, open_sessions: set[str]
) -> None:
    client = at(moment, settings, bus, store)
    symbols, sessions = client.get("/symbols").json, client.get("/sessions").json
    assert symbols is not None
    assert sessions is not None
    assert {each["kind"]: each["market_open"] for each in symbols["symbols"]} == {"fx": fx, "equity": equity, "crypto": True}
    assert {each["name"] for each in sessions["sessions"] if each["open"]} == open_sessions


def test_sessions_lists_all_sessions(client: FlaskClient) -> None:
    body = client.get("/sessions").json
    assert body is not None
    assert body["count"] == 4
    assert TIME.fullmatch(body["timestamp"])
    london = next(each for each in body["sessions"] if each["name"] == "London")
    london.pop("open")
    assert london == {"name": "London", "zone": "Europe/London", "opens": "08:00", "closes": "17:00", "weekdays": [1, 2, 3, 4, 5]}


def test_latest_price_of_one_instrument_is_returned(client: FlaskClient, bus: Bus) -> None:
    stamp = bus.cache_price("EUR_USD", **PRICE)
    body = client.get("/price/latest?symbol=EUR_USD").json
    assert body is not None
    assert TIME.fullmatch(body.pop("received"))
    expected = {"symbol": "EUR_USD", "price": "1.38710", "bid": "1.38700", "ask": "1.38720", "timestamp": PRICE["time"]}
    assert body == {**expected, "seq": stamp.seq, "epoch": stamp.epoch}


def test_latest_prices_of_several_instruments_are_returned(client: FlaskClient, bus: Bus) -> None:
    bus.cache_price("EUR_USD", **PRICE)
    one = client.get("/price/latest?symbol=EUR_USD").json
    assert client.get("/price/latest?symbols=EUR_USD,GBP_USD").json == {"prices": {"EUR_USD": one}}
    assert client.get("/price/latest?symbols=GBP_USD").json == {"prices": {}}


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "fields"),
    [
        ("GET", "/price/latest", 422, "invalid_payload", ["symbol"]),
        ("GET", "/price/latest?symbol=EUR_USD&symbols=GBP_USD", 422, "invalid_payload", ["symbols"]),
        ("GET", "/price/latest?symbol=%00", 422, "invalid_payload", ["symbol"]),
        ("GET", "/price/latest?symbol=FOO", 404, "unknown_instrument", ["symbol"]),
        ("GET", "/price/latest?symbol=eur_usd", 404, "unknown_instrument", ["symbol"]),
        ("GET", "/price/latest?symbols=EUR_USD,FOO", 404, "unknown_instrument", ["symbols"]),
        ("GET", "/price/latest?symbol=EUR_USD", 404, "no_price", ["symbol"]),
        ("GET", "/ticks", 422, "invalid_payload", ["symbol"]),
        ("GET", "/ticks?symbol=FOO", 404, "unknown_instrument", ["symbol"]),
        ("GET", "/ticks?symbol=FOO&format=csv", 404, "unknown_instrument", ["symbol"]),
        ("GET", "/ticks?symbol=EUR_USD&limit=0&order=up", 422, "invalid_payload", ["limit", "order"]),
        ("GET", "/ticks?symbol=EUR_USD&start=2025-01-02&end=2025-01-01", 422, "invalid_payload", ["end"]),
        ("GET", "/ticks?symbol=EUR_USD&start=2025-01-02&end=2025-01-01&limit=0", 422, "invalid_payload", ["limit"]),
        ("GET", "/ticks?symbol=EUR_USD&page_token=WyJ0aWNrcyJd", 422, "invalid_payload", ["page_token"]),
        ("GET", "/ticks?symbol=EUR_USD&limit=1_0", 422, "invalid_payload", ["limit"]),
        ("GET", "/ticks?symbol=EUR_USD&limit=%D9%A1%D9%A0", 422, "invalid_payload", ["limit"]),
        ("GET", "/ticks?symbol=EUR_USD&limit=000010", 422, "invalid_payload", ["limit"]),
        ("GET", "/ticks?symbol=EUR_USD%0A", 422, "invalid_payload", ["symbol"]),
        ("GET", "/ticks?symbol=EUR_USD&page_token=x", 422, "invalid_payload", ["page_token"]),
        ("GET", "/candles", 422, "invalid_payload", ["symbol"]),
        ("GET", "/candles?symbol=EUR_USD&interval=2h&price=last", 422, "invalid_payload", ["interval", "price"]),
        ("GET", "/candles?symbol=FOO", 404, "unknown_instrument", ["symbol"]),
        ("GET", "/candles?symbol=EUR_USD&page_token=x", 422, "invalid_payload", ["page_token"]),
        ("GET", "/market/trades", 422, "invalid_payload", ["symbol"]),
        ("GET", "/market/trades?symbol=BTCUSDT&limit=10001", 422, "invalid_payload", ["limit"]),
        ("GET", "/gaps?kind=ticks&state=lost", 422, "invalid_payload", ["kind", "state"]),
        ("GET", "/gaps?symbol=FOO", 404, "unknown_instrument", ["symbol"]),
        ("GET", "/nowhere", 404, "not_found", []),
        ("GET", "/docs/static/..%2f..%2fapps.py", 404, "not_found", []),
        ("GET", "/docs/static/LICENSE", 404, "not_found", []),
        ("GET", "/ui/vendor/..%2f..%2fjs%2fsrc%2fclient.js", 404, "not_found", []),
        ("GET", "/ui/vendor/nothing.js", 404, "not_found", []),
        ("POST", "/health", 405, "method_not_allowed", []),
        ("DELETE", "/ticks?symbol=EUR_USD", 405, "method_not_allowed", []),
    ],
)
def test_error_has_code_message_and_details(client: FlaskClient, method: str, path: str, status: int, code: str, fields: list[str]) -> None:
    answer = client.open(path, method=method)
    assert answer.status_code == status
    assert answer.mimetype == "application/json"
    assert answer.json is not None
    assert set(answer.json) == {"error"}
    error = answer.json["error"]
    assert set(error) == {"code", "message", "details"}
    assert error["code"] == code
    assert sorted(error["details"]) == sorted(fields)
    if status == 405:
        assert "GET" in answer.headers["Allow"]


def test_internal_error_reveals_no_detail(client: FlaskClient, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with store.transaction() as cursor:
        cursor.execute("DROP TABLE market_sessions")
    answer = client.get("/sessions")
    assert answer.status_code == 500
    assert answer.json is not None
    assert answer.json["error"]["code"] == "internal"
    assert "market_sessions" not in answer.text
    logged = next(record for record in caplog.records if record.message == "request failed")
    assert logged.exc_info is not None


def test_response_has_the_header_nosniff(client: FlaskClient) -> None:
    for path in ("/health/live", "/docs", "/nowhere"):
        answer = client.get(path)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
