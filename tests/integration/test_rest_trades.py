"""/api/trades, /orders and /fills: exact digits, pages, sums by hand arithmetic."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from config.settings import Settings
from db.bus import Bus
from db.postgres import Store
from db.reports.fills import insert_fills
from tests.support.observed import FILLS, store_example

NOW = datetime(2025, 11, 18, 13, tzinfo=UTC)


@pytest.fixture(scope="module")
def store(shared_settings: Settings) -> Iterator[Store]:
    with closing(Store(str(shared_settings.database_url))) as store:
        with store.transaction() as cursor:
            store_example(cursor)
        yield store


@pytest.fixture(scope="module")
def client(shared_settings: Settings, store: Store) -> Iterator[FlaskClient]:
    with closing(Bus(str(shared_settings.redis_url), lambda: NOW)) as bus:
        yield create_app(shared_settings, bus, store, lambda: NOW, "1").test_client()


def body(client: FlaskClient, path: str, **query: Any) -> Any:
    """Return the body of an answer with exact numbers."""
    answer = client.get(path, query_string=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return json.loads(answer.text, parse_float=Decimal)


def error(client: FlaskClient, path: str, **query: Any) -> tuple[int, dict[str, Any]]:
    answer = client.get(path, query_string=query)
    return answer.status_code, answer.get_json()["error"]


def test_trades_of_the_worked_example_have_number_literals_and_fills_strings(client: FlaskClient) -> None:
    text = client.get("/api/trades?order=asc").text
    assert '"quantity":1000,"price":1.09450,' in text
    assert re.findall(r'"pnl":([^,]+)', text) == ["null", "null", "0.348", "-0.648", "0.040"]
    first = body(client, "/api/trades", order="asc")["trades"][0]
    assert first == {
        "trade_id": "mm-1:f-1", "symbol": "EUR_USD", "side": "buy", "quantity": 1000, "price": Decimal("1.09450"),
        "timestamp": "2025-11-18T12:00:01.000000Z", "latency_ms": None, "slippage_bps": None, "pnl": None, "strategy": "mean_reversion",
        "order_id": "o-1", "bot": "mm-1", "fee": Decimal("0.020"), "fee_currency": "USD", "currency": "USD", "liquidity": "taker",
        "time_received": "2025-11-18T12:00:01.500000Z",
    }  # fmt: skip
    fills = body(client, "/fills")["fills"]
    assert [each["price"] for each in fills] == ["1.09450", "1.09510", "1.09530", "1.09400", "1.09390"]
    assert [each["realized_pnl"] for each in fills] == [None, None, "0.348", "-0.648", "0.040"]
    assert list(fills[0]) == [
        "time", "bot", "strategy", "fill_id", "order_id", "symbol", "side", "quantity", "price", "fee", "fee_currency", "currency",
        "multiplier", "liquidity", "realized_pnl", "slippage_bps", "latency_ms", "voided", "time_received",
    ]  # fmt: skip
    orders = body(client, "/orders", status="filled")["orders"]
    assert [(each["order_id"], each["quantity"], each["implicit"]) for each in orders][:2] == [
        ("o-1", "1000", False),
        ("o-2", "500", False),
    ]


def test_trades_are_newest_first_in_pages_with_a_total(client: FlaskClient) -> None:
    first = body(client, "/api/trades", limit=2)
    assert [each["trade_id"] for each in first["trades"]] == ["mm-1:f-5", "mm-1:f-4"]
    assert (first["total"], first["limit"], first["offset"]) == (5, 2, 0)
    second = body(client, "/api/trades", limit=2, page_token=first["next_page_token"])
    assert [each["trade_id"] for each in second["trades"]] == ["mm-1:f-3", "mm-1:f-2"]
    behind = body(client, "/api/trades/", limit=2, offset=4)
    assert ([each["trade_id"] for each in behind["trades"]], behind["next_page_token"], behind["offset"]) == (["mm-1:f-1"], None, 4)
    assert body(client, "/api/trades", offset=100)["trades"] == []
    default = body(client, "/api/trades")
    assert (default["limit"], len(default["trades"]), list(default)) == (100, 5, ["trades", "total", "limit", "offset", "next_page_token"])
    assert client.get("/api/trades?format=csv").text.splitlines()[1].startswith("mm-1:f-5,EUR_USD,buy,500,1.09390,")
    assert client.get("/api/trades?format=ndjson").text.count("\n") == 5


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({"side": "sell"}, [4, 3]),
        ({"symbol": "EUR_USD", "strategy": "mean_reversion", "bot": "mm-1", "min_quantity": "600", "max_quantity": "1000.0"}, [3, 1]),
        ({"min_quantity": "1000.000000001"}, [4]),
        ({"start_time": "2025-11-18T12:00:02Z", "end_time": "2025-11-18T12:00:04Z"}, [3, 2]),
        ({"start_time": "2025-11-18T12:00:02Z", "end_time": "2025-11-18T12:00:04Z", "order": "asc"}, [2, 3]),
        ({"end_time": "2025-11-18T12:00:02Z"}, [1]),
        ({"end_time": "0001-01-01"}, []),
        ({"symbol": "GBP_USD"}, []),
        ({"strategy": "other"}, []),
    ],
)
def test_trades_are_selected_by_each_argument(client: FlaskClient, query: dict[str, str], numbers: list[int]) -> None:
    found = body(client, "/api/trades", **query)
    assert [each["trade_id"] for each in found["trades"]] == [f"mm-1:f-{number}" for number in numbers]
    assert found["total"] == len(numbers)


def test_bad_arguments_are_refused_with_the_remedy(client: FlaskClient) -> None:
    assert error(client, "/api/trades", limit=5000) == (
        422,
        {"code": "invalid_payload", "message": "invalid arguments: limit", "details": {"limit": ["Must be from 1 to 1000."]}},
    )
    for query, name, problem in (
        ({"offset": "100001"}, "offset", "Must be at most 100000: use page_token."),
        ({"limit": "0"}, "limit", "Must be from 1 to 1000."),
        ({"min_quantity": "1e3"}, "min_quantity", "Must be a decimal such as 0.5."),
        ({"max_quantity": "\N{ARABIC-INDIC DIGIT ONE}"}, "max_quantity", "Must be a decimal such as 0.5."),
        ({"bot": "no bot"}, "bot", "Not the name of a bot."),
        ({"start_time": "2025-11-19", "end_time": "2025-11-18"}, "end_time", "Must not be before start_time."),
        ({"start": "2025-11-19"}, "start", None),
    ):
        status, found = error(client, "/api/trades", **query)
        assert (status, list(found["details"])) == (422, [name])
        assert problem is None or found["details"][name] == [problem]
    token = body(client, "/api/trades", limit=1)["next_page_token"]
    assert error(client, "/api/trades", limit=1, page_token=token, side="buy")[0] == 422
    assert error(client, "/api/trades", limit=1, page_token=token, offset=1)[1]["details"] == {"offset": ["Not together with page_token."]}
    assert error(client, "/api/trades", symbol="NO_SUCH")[1]["code"] == "unknown_instrument"


def test_one_trade_is_found_by_its_id(client: FlaskClient) -> None:
    assert client.get("/api/trades/mm-1:f-3").text.startswith(
        '{"trade_id":"mm-1:f-3","symbol":"EUR_USD","side":"sell","quantity":600,"price":1.09530,'
    )
    for name in ("nope", "mm-1:f-6", "mm-2:f-3", "mm-1:"):
        assert error(client, f"/api/trades/{name}") == (
            404,
            {"code": "not_found", "message": "no such trade", "details": {"trade_id": [name]}},
        )


def test_sums_of_trades_are_those_of_hand_arithmetic(client: FlaskClient) -> None:
    # Volume 1000 + 500 + 600 + 1400 + 500 = 4000.
    # Value 1094.50 + 547.55 + 657.18 + 1531.60 + 546.95 = 4377.78.
    # Profit 0.348 - 0.648 + 0.040 = -0.260; profit factor 0.388 / 0.648.
    text = client.get("/api/trades/stats/summary?symbol=EUR_USD").text
    assert '"total_volume":4000,"avg_price":1.094445,"avg_size":800,' in text
    assert '"pnl":-0.260,"currency":"USD","wins":2,"losses":1,"draws":0,' in text
    found = json.loads(text)
    assert (found["count"], found["buy_count"], found["sell_count"], found["by_currency"]) == (5, 3, 2, {})
    assert found["win_rate"] == pytest.approx(2 / 3)
    assert found["profit_factor"] == pytest.approx(0.388 / 0.648)


def test_sums_without_trades_are_zero_and_ratios_null(client: FlaskClient) -> None:
    found = body(client, "/api/trades/stats/summary", symbol="GBP_USD", time_range="1h")
    zero = {name for name, value in found.items() if value == 0 and value is not None}
    assert zero == {"count", "total_volume", "buy_count", "sell_count", "pnl", "wins", "losses", "draws"}
    assert [found[name] for name in ("avg_price", "avg_size", "win_rate", "profit_factor")] == [None] * 4
    quality = body(client, "/api/trades/execution/quality", symbol="GBP_USD")
    assert (quality.pop("by_strategy"), quality.pop("time_range"), set(quality.values())) == ({}, "24h", {None})
    assert error(client, "/api/trades/stats/summary", time_range="2h")[0] == 422
    for path in ("/api/trades/stats/summary", "/api/trades/execution/quality"):
        assert error(client, path, symbol="NO_SUCH")[1]["code"] == "unknown_instrument"


def test_voided_fills_are_no_trades(client: FlaskClient, store: Store) -> None:
    with store.transaction() as cursor:
        insert_fills(cursor, [replace(FILLS[0], bot="void", voided=True, time=NOW - timedelta(days=3))])
    assert body(client, "/api/trades", bot="void", start_time="2025-11-01")["total"] == 0
    assert error(client, "/api/trades/void:f-1")[0] == 404
    assert [each["voided"] for each in body(client, "/fills", bot="void")["fills"]] == [True]
