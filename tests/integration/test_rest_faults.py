"""REST while PostgreSQL or Redis is unreachable, or accepts connections and never answers."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import psycopg2
import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.rest.context import _NAME
from api.rest.limits.slots import MAX_WORKING_REQUESTS
from config.settings import Settings
from db.bus import Bus
from db.postgres import Store, StoreError, cooperate
from tests.conftest import until
from tests.support.registry import report_sources

Clock = Callable[[], datetime]
NOWHERE = "127.0.0.1:1"

NEEDS_DATABASE = [
    "/symbols",
    "/market",
    "/market?symbols=EUR_USD",
    "/sessions",
    "/ticks?symbol=EUR_USD",
    "/ticks?symbol=EUR_USD&format=csv",
    "/ticks?symbol=EUR_USD&format=ndjson",
    "/candles?symbol=EUR_USD",
    "/market/trades?symbol=BTCUSDT&format=csv",
    "/gaps",
    "/volatility?symbol=EUR_USD",
    "/volatility/latest",
    "/correlation",
    "/correlation/history?symbol1=EUR_USD&symbol2=GBP_USD&format=csv",
    "/alerts",
    "/jobs",
]
NEEDS_REDIS = ["/symbols", "/market", "/market?symbols=EUR_USD", "/price/latest?symbol=EUR_USD", "/price/latest?symbols=EUR_USD,GBP_USD"]
NEEDS_NOTHING = ["/", "/config.json", "/ui/app.css", "/health/live", "/openapi.json", "/docs", "/redoc"]


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def without_database(settings: Settings, bus: Bus, clock: Clock) -> FlaskClient:
    return create_app(settings, bus, Store(f"postgresql://hub:secret@{NOWHERE}/hub"), clock, "1").test_client()


@pytest.fixture
def without_redis(settings: Settings, store: Store, clock: Clock) -> FlaskClient:
    return create_app(settings, Bus(f"redis://:secret@{NOWHERE}/0", clock), store, clock, "1").test_client()


def assert_unavailable(answer: Any, part: str) -> None:
    assert answer.status_code == 503
    assert answer.json["error"]["code"] == "unavailable"
    assert answer.json["error"]["details"] == {"part": part}
    assert "127.0.0.1" not in answer.text
    assert "secret" not in answer.text


@pytest.mark.parametrize("path", NEEDS_DATABASE)
def test_route_that_needs_the_database_is_503_without_it(without_database: FlaskClient, path: str) -> None:
    assert_unavailable(without_database.get(path), "database")


@pytest.mark.parametrize("path", NEEDS_REDIS)
def test_route_that_needs_redis_is_503_without_it(without_redis: FlaskClient, path: str) -> None:
    assert_unavailable(without_redis.get(path), "redis")


@pytest.mark.parametrize("path", NEEDS_NOTHING)
def test_route_that_needs_neither_server_answers_without_them(without_database: FlaskClient, without_redis: FlaskClient, path: str) -> None:
    assert without_database.get(path).status_code == without_redis.get(path).status_code == 200


def test_latest_price_needs_no_database(without_database: FlaskClient, bus: Bus) -> None:
    bus.cache_price("EUR_USD", bid="1.0945", ask="1.0947", mid="1.0946", time="2025-11-18T12:30:00.000000Z")
    assert without_database.get("/price/latest?symbol=EUR_USD").status_code == 200
    assert_unavailable(without_database.get("/price/latest?symbol=GBP_USD"), "database")


def test_history_needs_no_redis(without_redis: FlaskClient) -> None:
    assert without_redis.get("/ticks?symbol=EUR_USD").status_code == 200
    assert without_redis.get("/sessions").status_code == 200


def health(client: FlaskClient, path: str) -> tuple[int, dict[str, Any]]:
    answer = client.get(path)
    assert "Traceback" not in answer.text
    assert "127.0.0.1" not in answer.text
    assert answer.json is not None
    return answer.status_code, answer.json


def test_health_without_the_database_names_it(without_database: FlaskClient, bus: Bus) -> None:
    report_sources(bus, {"synthetic": {"state": "live"}})
    status, body = health(without_database, "/health")
    assert (status, body["status"], body["database"], body["redis"]) == (503, "unhealthy", "disconnected", "connected")
    assert body["sources"]["synthetic"]["state"] == "live"
    status, body = health(without_database, "/health/ready")
    assert (status, body["status"], body["database"], body["redis"]) == (503, "not_ready", "disconnected", "connected")
    status, body = health(without_database, "/health/db")
    assert (status, body["status"], body["database"]) == (503, "unhealthy", "disconnected")
    assert health(without_database, "/health/binance")[0] == 200


def test_health_without_redis_names_it(without_redis: FlaskClient) -> None:
    status, body = health(without_redis, "/health")
    assert (status, body["status"], body["database"], body["redis"]) == (503, "unhealthy", "connected", "disconnected")
    assert body["sources"] == {}
    assert body["writer"]["unstored"] is None
    assert (body["failing"], body["hub"]) == (["bus"], "unknown")
    assert health(without_redis, "/health/ready")[0] == 503
    assert health(without_redis, "/health/db")[0] == 200
    status, body = health(without_redis, "/health/binance")
    assert (status, body["status"]) == (503, "unknown")


def test_health_does_not_wait_for_a_hung_server(settings: Settings, clock: Clock, silent: str) -> None:
    patient_store = Store(f"postgresql://hub@{silent}/hub", timeout_ms=100_000)
    patient_bus = Bus(f"redis://{silent}/0", clock, timeout=100)
    app = create_app(settings, patient_bus, patient_store, clock, "1")
    status, body = health(app.test_client(), "/health")
    assert (status, body["database"], body["redis"]) == (503, "disconnected", "disconnected")
    assert "database" in app.extensions[_NAME].watch.checks.running, "health answered before the check of the database had ended"


def test_cooperative_wait_for_a_hung_server_ends(silent: str) -> None:
    def wait(fd: int, for_writing: bool, timeout: float | None) -> None:
        readable, writable, _ = select.select([] if for_writing else [fd], [fd] if for_writing else [], [], timeout)
        if not readable and not writable:
            raise TimeoutError

    cooperate(wait, 0.2)
    try:
        with pytest.raises(StoreError, match=r"within 0\.2 s"):
            Store(f"postgresql://hub@{silent}/hub").ping()
    finally:
        psycopg2.extensions.set_wait_callback(None)


def test_health_recovers_with_the_database(
    settings: Settings, bus: Bus, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    report_sources(bus, {})
    client = create_app(settings, bus, store, clock, "1").test_client()
    with monkeypatch.context() as patch:
        patch.setattr(Store, "_connect", lambda self: psycopg2.connect(f"postgresql://hub@{NOWHERE}/hub"))
        assert health(client, "/health")[0] == 503
    assert health(client, "/health")[0] == 200


def test_health_is_served_while_all_slots_wait_for_the_database(settings: Settings, bus: Bus, store: Store, clock: Clock) -> None:
    """All slots wait for a lock in the database. Other requests are refused, health is not."""
    report_sources(bus, {})
    app = create_app(settings, bus, store, clock, "1")
    with store.transaction() as cursor, ThreadPoolExecutor(MAX_WORKING_REQUESTS) as threads:
        cursor.execute("LOCK TABLE market_sessions IN ACCESS EXCLUSIVE MODE")
        waiting = [threads.submit(app.test_client().get, "/sessions") for _ in range(MAX_WORKING_REQUESTS)]
        until(lambda: len(lock_waits(store)) == MAX_WORKING_REQUESTS, what="every request's wait for the lock")
        assert_unavailable(app.test_client().get("/ticks?symbol=EUR_USD"), "rest")
        assert health(app.test_client(), "/health")[0] == 200
        cursor.connection.rollback()
        assert [each.result().status_code for each in waiting] == [200] * MAX_WORKING_REQUESTS
    assert app.test_client().get("/ticks?symbol=EUR_USD").status_code == 200


def lock_waits(store: Store) -> list[Any]:
    with store.transaction() as cursor:
        cursor.execute("SELECT pid FROM pg_locks WHERE NOT granted")
        return list(cursor.fetchall())
