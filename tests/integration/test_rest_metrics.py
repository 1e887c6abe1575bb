"""/api/metrics: the newest snapshot, its summary, tracked instruments, and stored metrics."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis as redis_client
from flask.testing import FlaskClient

from api.app import create_app
from config.settings import Settings
from db.bus import Bus, BusError, Snapshot
from db.metrics.execution import ExecutionRow, insert_execution
from db.metrics.market import MarketRow, insert_market
from db.metrics.rollup import is_mine, roll_up_metrics
from db.metrics.strategy import StrategyRow, insert_strategy
from db.metrics.system import SystemRow, insert_system
from db.postgres import Cursor, Store
from db.timestamps import format_time
from tests.conftest import Servers
from tests.integration.conftest import SHARED_REDIS_DATABASE
from tests.support.servers import as_role, of_database

NOON = datetime(2025, 11, 18, 12, tzinfo=UTC)


@dataclass
class Clock:
    """The clock of the app, and the monotonic one."""

    now: datetime = NOON + timedelta(hours=1)
    client: FlaskClient = field(init=False)

    def read(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return (self.now - NOON).total_seconds()

    def get(self, path: str, **query: Any) -> Any:
        """Return the body of an answer."""
        answer = self.client.get(path, query_string=query)
        assert answer.status_code == 200, answer.text
        assert answer.headers["Cache-Control"] == "no-store"
        return json.loads(answer.text, parse_float=Decimal)

    def history(self, status: int = 200, **body: Any) -> Any:
        """Return the answer for a request for stored metrics."""
        answer = self.client.post("/api/metrics/history", json=body)
        assert answer.status_code == status, answer.text
        return json.loads(answer.text, parse_float=str)


@pytest.fixture(scope="module")
def store(shared_settings: Settings) -> Iterator[Store]:
    with closing(Store(str(shared_settings.database_url))) as store:
        with store.transaction() as cursor:
            store_metrics(cursor)
        yield store


@pytest.fixture(scope="module")
def raw(servers: Servers) -> Iterator[redis_client.Redis]:
    with closing(redis_client.Redis.from_url(of_database(servers.operator_url, SHARED_REDIS_DATABASE), protocol=2)) as client:
        client.flushdb()
        yield client


@pytest.fixture(scope="module")
def bus(shared_settings: Settings, raw: redis_client.Redis) -> Iterator[Bus]:
    with closing(Bus(str(shared_settings.redis_url), lambda: NOON)) as bus:
        yield bus


@pytest.fixture
def app(shared_settings: Settings, bus: Bus, store: Store) -> Iterator[Clock]:
    clock = Clock()
    with closing(Store(as_role(str(shared_settings.database_url), "tickwire_reader"))) as reader:
        clock.client = create_app(shared_settings, bus, reader, clock.read, "1", monotonic=clock.monotonic).test_client()
        yield clock


def second(number: int, price: str, volume: str, trades: int) -> MarketRow:
    decimal = Decimal(price)
    moment = NOON + timedelta(seconds=number)
    return MarketRow(moment, "EUR_USD", decimal, decimal, decimal, decimal, decimal, None, Decimal(volume), trades, 1.5, 1)


def store_metrics(cursor: Cursor) -> None:
    """Seconds of 12:00 and 12:01, and their roll-up."""
    insert_market(cursor, [second(0, "1.09450", "10.5", 2), second(1, "1.09480", "0.500", 1), second(61, "1.09400", "3", 1)])
    insert_market(cursor, [replace(second(1, "2.5", "1", 1), symbol="AAPL")])
    pnl = [Decimal(text) for text in ("-0.340", "-0.300")]
    insert_strategy(
        cursor,
        [
            StrategyRow(NOON + timedelta(seconds=n), bot, "mean_reversion", each, each, each, Decimal(0), 1 - n, 4 + n, 0.5, each, each)
            for n, each in enumerate(pnl)
            for bot in ("mm-1", "mm-2")
        ],
    )
    insert_execution(
        cursor,
        [
            ExecutionRow(NOON, "mm-1", "mean_reversion", 4, 3, 0, 1, 30.0, 2, 5.0, 10.0),
            ExecutionRow(NOON, "mm-2", "other", 2, 1, 1, 0, 30.0, 1, None, 0.0),
        ],
    )
    insert_system(
        cursor,
        [
            SystemRow(NOON + timedelta(seconds=n), each, each, 1, 40.0, 40.0, 1, None, None, 0, health, n, 100.0 + n)
            for n, (each, health) in enumerate([(20.0, "degraded"), (30.0, "healthy")])
        ],
    )
    assert is_mine(cursor)
    while roll_up_metrics(cursor, NOON + timedelta(hours=2)):
        pass


def snapshot(moment: datetime, seq: int = 812) -> Snapshot:
    numbers = {
        "market_data": '{"timestamp":"t","symbols":{"EUR_USD":{"last_price":1.09450,"vwap":null}},"total_trades":0,"total_volume":0.10}',
        "strategy": '{"total_pnl":-0.290}',
    }
    strings = {
        "market_data": '{"symbols":{},"total_trades":7,"total_volume":"12.500","symbols_tracked":39}',
        "strategy": '{"strategies":{"a":{"state":"live"},"b":{"state":"silent"}},"total_pnl":"-0.290","daily_pnl":null,"open_positions":1}',
        "execution": '{"orders_today":5,"fills_today":4,"fill_rate":0.8,"avg_latency_ms":31.2}',
        "system": '{"cpu_percent":12.5,"memory_percent":40.1,"uptime":61.5,"health":"healthy"}',
    }
    return Snapshot(format_time(moment), seq, "epoch-1", numbers, strings)


def test_newest_snapshot_is_joined_without_a_change_of_digits_and_becomes_stale(app: Clock, bus: Bus, raw: redis_client.Redis) -> None:
    raw.flushdb()
    for path in ("/api/metrics/current", "/api/metrics/summary"):
        missing = app.client.get(path)
        assert (missing.status_code, missing.get_json()["error"]["code"]) == (503, "unavailable")
        assert int(missing.headers["Retry-After"]) >= 1
    app.now += timedelta(seconds=1)
    bus.publish_snapshot(snapshot(app.now))
    app.now += timedelta(milliseconds=120)
    text = app.client.get("/api/metrics/current").text
    assert text == (
        '{"timestamp":"2025-11-18T13:00:01.000000Z","market_data":' + snapshot(NOON).numbers["market_data"]
        + ',"strategy":{"total_pnl":-0.290},"execution":{},"system":{},"seq":812,"epoch":"epoch-1","age_ms":120.0,"stale":false}'
    )  # fmt: skip
    app.now += timedelta(seconds=4.87)
    assert app.get("/api/metrics/current")["stale"] is False
    app.now += timedelta(seconds=0.01)
    raw.flushdb()  # Redis keeps it for 10 s
    stale = app.get("/api/metrics/current")
    assert (stale["stale"], stale["age_ms"], stale["seq"]) == (True, 5000, 812)
    bus.publish_snapshot(snapshot(app.now, 813))
    app.now += timedelta(seconds=1)
    assert (app.get("/api/metrics/current")["seq"], app.get("/api/metrics/current")["stale"]) == (813, False)


def test_snapshot_becomes_stale_while_redis_is_away(
    shared_settings: Settings, bus: Bus, store: Store, app: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus.publish_snapshot(snapshot(app.now))
    seen = app.get("/api/metrics/current")
    app.now += timedelta(seconds=6)
    monkeypatch.setattr(Bus, "latest_snapshot", away)
    found = app.get("/api/metrics/current")
    assert (found["stale"], found["age_ms"], found["seq"]) == (True, 6000, seen["seq"])
    unseen = create_app(shared_settings, bus, store, app.read, "1", monotonic=app.monotonic).test_client()
    answer = unseen.get("/api/metrics/current")
    assert (answer.status_code, answer.get_json()["error"]["details"]) == (503, {"part": "redis"})


def away(_: Bus) -> None:
    raise BusError("Redis is away")


def test_summary_has_the_main_figures_with_their_digits(app: Clock, bus: Bus) -> None:
    bus.publish_snapshot(snapshot(app.now))
    text = app.client.get("/api/metrics/summary").text
    assert '"total_volume":12.500}' in text
    assert '"total_pnl":-0.290,' in text
    assert json.loads(text) == {
        "timestamp": format_time(app.now),
        "market": {"symbols_tracked": 39, "total_trades": 7, "total_volume": 12.5},
        "strategy": {"active_strategies": 1, "total_pnl": -0.29, "daily_pnl": None, "open_positions": 1},
        "execution": {"orders_today": 5, "fills_today": 4, "fill_rate": 0.8, "avg_latency_ms": 31.2},
        "system": {"cpu_usage": 12.5, "memory_usage": 40.1, "uptime_seconds": 61.5, "health_status": "healthy"},
    }


def test_instruments_are_tracked_until_they_are_removed(app: Clock) -> None:
    before = app.get("/api/metrics/symbols")
    assert (before["count"], before["symbols"]) == (len(before["symbols"]), sorted(before["symbols"]))
    without = [name for name in before["symbols"] if name != "EUR_USD"]
    for _ in range(2):
        assert app.client.delete("/api/metrics/symbols/EUR_USD").get_json() == {"symbols": without, "count": len(without)}
    assert app.get("/api/metrics/symbols")["symbols"] == without
    for _ in range(2):
        assert app.client.post("/api/metrics/symbols/EUR_USD").get_json() == before
    for send in (app.client.post, app.client.delete):
        answer = send("/api/metrics/symbols/EUR_USDX")
        assert (answer.status_code, answer.get_json()["error"]["code"]) == (404, "unknown_instrument")
        assert "EUR_USD" in answer.get_json()["error"]["message"]


def test_stored_metrics_of_the_last_hour_have_five_minutes(app: Clock) -> None:
    # Volume 10.5 + 0.500 + 3 = 14.000, trades 2 + 1 + 1. 4 of the 3 + 1 + 1 + 1 orders are filled.
    found = app.history()
    assert (found["start_time"], found["end_time"]) == ("2025-11-18T12:00:00.000000Z", "2025-11-18T13:00:00.000000Z")
    assert (found["interval"], found["count"], found["next_page_token"]) == ("5m", 6, None)
    noon = {"timestamp": "2025-11-18T12:00:00.000000Z"}
    market, apple = found["data"][1], found["data"][0]
    assert apple["symbol"] == "AAPL"
    assert market == {
        "type": "market_data", **noon, "symbol": "EUR_USD", "last_price": "1.09400", "bid": "1.09400", "ask": "1.09400",
        "high": "1.09480", "low": "1.09400", "vwap": None, "volume": "14.000", "trades": 4, "spread_bps": "1.5",
    }  # fmt: skip
    first, second, execution, system = found["data"][2:]
    assert first == {
        "type": "strategy", **noon, "strategy_name": "mean_reversion", "bot": "mm-1", "pnl": "-0.300", "daily_pnl": "-0.300",
        "realized_pnl": "-0.300", "unrealized_pnl": 0, "positions": 0, "signals": 5, "win_rate": "0.5",
    }  # fmt: skip
    assert second["bot"] == "mm-2"
    assert execution == {
        "type": "execution", **noon, "orders_submitted": 6, "orders_filled": 4, "orders_cancelled": 1, "orders_rejected": 1,
        "fill_rate": str(4 / 6), "avg_latency_ms": "20.0", "avg_slippage_bps": "0.5",
    }  # fmt: skip
    assert system == {
        "type": "system", **noon, "cpu_percent": "25.0", "memory_percent": "40.0", "disk_usage_percent": None, "uptime_seconds": "101.0",
        "health_status": "degraded", "active_alerts": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("interval", "prices"),
    [
        ("1s", ["1.09450", "1.09480", "1.09400"]),
        ("1m", ["1.09480", "1.09400"]),
        ("15m", ["1.09400"]),
        ("1h", ["1.09400"]),
        ("1d", ["1.09400"]),
    ],
)
def test_stored_metrics_have_each_interval(app: Clock, interval: str, prices: list[str]) -> None:
    found = app.history(interval=interval, metric_types=["market_data"], symbols=["EUR_USD"], time_range="24h")["data"]
    assert [each["last_price"] for each in found] == prices


@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.parametrize("interval", ["1s", "5m"])
def test_pages_of_stored_metrics_have_each_record_once(app: Clock, interval: str, limit: int) -> None:
    whole = app.history(interval=interval, time_range="7d")["data"]
    assert len(whole) == (11 if interval == "1s" else 6)
    found, token = [], None
    while True:
        page = app.history(interval=interval, time_range="7d", limit=limit, **({"page_token": token} if token else {}))
        assert page["count"] == len(page["data"]) <= limit
        found += page["data"]
        app.now += timedelta(seconds=7)  # the range of the first page is kept
        if (token := page["next_page_token"]) is None:
            break
    assert found == whole


def test_stored_metrics_are_selected_by_each_field(app: Clock) -> None:
    def selected(**body: Any) -> list[Any]:
        return [(each["type"], each.get("symbol") or each.get("bot")) for each in app.history(**body)["data"]]

    assert selected(bots=["mm-2"], metric_types=["strategy"]) == [("strategy", "mm-2")]
    assert selected(strategies=["other"], metric_types=["strategy", "execution"]) == [("execution", None)]
    assert app.history(bots=["mm-1"], metric_types=["execution"])["data"][0]["orders_submitted"] == 4
    assert selected(symbols=[], metric_types=["market_data"]) == []
    assert selected(start_time="2025-11-18T12:01:00Z", interval="1m", metric_types=["market_data"]) == [("market_data", "EUR_USD")]
    assert selected(end_time="2025-11-18T12:00:00Z") == []
    assert selected(end_time="0001-01-01T00:10:00Z", interval="15m") == []
    # Intervals without a stored row cost nothing, however many they are.
    forever = {"start_time": "0001-01-01", "end_time": "9999-12-31T23:59:59.999999Z"}
    for interval in ("5m", "1d"):
        assert selected(**forever, interval=interval, metric_types=["execution", "strategy"]) == [
            ("strategy", "mm-1"), ("strategy", "mm-2"), ("execution", None),
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "name", "problem"),
    [
        ({"time_range": "1h", "start_time": "2025-11-18"}, "time_range", "Not together with start_time."),
        ({"time_range": "1h", "end_time": "2025-11-18"}, "time_range", "Not together with end_time."),
        ({"start_time": "2025-11-19", "end_time": "2025-11-18"}, "end_time", "Must not be before start_time."),
        ({"start_time": "2026-11-19"}, "start_time", "Must not be in the future."),
        ({"time_range": "2h"}, "time_range", None),
        ({"interval": "2m"}, "interval", None),
        ({"limit": 10_001}, "limit", "Must be from 1 to 10000."),
        ({"limit": "5"}, "limit", None),
        ({"metric_types": ["system", "weather"]}, "metric_types", "Entry 1: Must be one of: market_data, strategy, execution, system."),
        ({"page_token": "eyJ0"}, "page_token", "Not a next_page_token of this request: use it with all other fields unchanged."),
        ({"metrics": []}, "metrics", None),
    ],
)
def test_bad_request_for_stored_metrics_is_refused(app: Clock, sent: dict[str, Any], name: str, problem: str | None) -> None:
    error = app.history(422, **sent)["error"]
    assert (error["code"], list(error["details"])) == ("invalid_payload", [name])
    assert problem is None or error["details"][name] == [problem]
    token = app.history(limit=1)["next_page_token"]
    assert list(app.history(422, limit=1, page_token=token, interval="1s")["error"]["details"]) == ["page_token"]


def test_unknown_instrument_of_stored_metrics_is_named(app: Clock) -> None:
    error = app.history(404, symbols=["EUR_USD", "EUR_USDX", "GBP_USD"])["error"]
    assert (error["code"], error["details"]) == ("unknown_instrument", {"symbols": ["EUR_USDX"]})
    assert app.history(symbols=["EUR_USDX"], metric_types=["system"])["count"] == 1


def test_pages_of_permitted_origins_may_change_the_tracked_instruments(
    app: Clock, shared_settings: Settings, bus: Bus, store: Store
) -> None:
    page = "https://a.example"
    settings = replace(shared_settings, cors_origins=(page,))
    client = create_app(settings, bus, store, app.read, "1").test_client()
    asked = {"Origin": page, "Access-Control-Request-Method": "DELETE"}
    answer = client.options("/api/metrics/symbols/EUR_USD", headers=asked)
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (204, page)
    assert {"POST", "DELETE"} <= set(answer.headers["Access-Control-Allow-Methods"].split(", "))
    foreign = {"Origin": "https://b.example"}
    assert client.delete("/api/metrics/symbols/EUR_USD", headers=foreign).status_code == 403
    read = client.get("/api/metrics/symbols", headers=foreign)
    assert (read.status_code, "Access-Control-Allow-Origin" in read.headers) == (200, False)
