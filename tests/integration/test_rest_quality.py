"""/api/trades/execution/quality by hand arithmetic, with the example of Perold's shortfall."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from config.settings import Settings
from db.bus import Bus
from db.postgres import Cursor, Store
from db.prices import PriceRow, insert_prices
from db.reports.fills import insert_fills
from db.reports.orders import save_orders
from db.timestamps import format_time
from tests.support.observed import FILLS, moment, order

NOW = datetime(2025, 11, 18, 12, 10, tzinfo=UTC)
PARTLY, WHOLE = "alpha", "beta"


def price(seconds: float, mid: str, seq: int) -> PriceRow:
    time = format_time(moment(seconds))
    return PriceRow("AAPL", time, time, mid, mid, mid, None, "job", "e", seq)


def store_orders(cursor: Cursor) -> None:
    """Buy 1,000, of which 900 are filled at 40.10; sell 100; one rejected and one open order."""
    mids = [(-1, "40.05"), (4, "40.10"), (6, "40.15"), (30, "40.20")]
    insert_prices(cursor, [price(seconds, mid, seq) for seq, (seconds, mid) in enumerate(mids, 1)])
    orders = [
        order(
            0, "cancelled", "1000", "900", first_fill=moment(0.031), finished=moment(31), decision_price=Decimal("40.00"), strategy=PARTLY
        ),
        order(40, "filled", "100", "100", side="sell", first_fill=moment(40.05), strategy=WHOLE),
        order(41, "rejected", "100", strategy=WHOLE),
        order(42, "new", "100", finished=None, strategy=WHOLE),
    ]
    save_orders(cursor, [replace(each, symbol="AAPL") for each in orders])
    bought = replace(
        FILLS[0], symbol="AAPL", order_id="o-0", strategy=PARTLY, quantity=Decimal(900), price=Decimal("40.10"), fee=Decimal("9.00"),
        slippage_bps=0.91, time=moment(1),
    )  # fmt: skip
    sold = replace(
        bought, fill_id="f-2", order_id="o-40", strategy=WHOLE, side="sell", quantity=Decimal(100), slippage_bps=-2.0, time=moment(41)
    )
    void = replace(bought, fill_id="f-3", slippage_bps=1000.0, voided=True)
    insert_fills(cursor, [bought, sold, void])


@pytest.fixture(scope="module")
def client(shared_settings: Settings) -> Iterator[FlaskClient]:
    with closing(Store(str(shared_settings.database_url))) as store, closing(Bus(str(shared_settings.redis_url), lambda: NOW)) as bus:
        with store.transaction() as cursor:
            store_orders(cursor)
        yield create_app(shared_settings, bus, store, lambda: NOW, "1").test_client()


def quality(client: FlaskClient, **query: str) -> dict[str, Any]:
    answer = client.get("/api/trades/execution/quality", query_string=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.get_json())


def test_quality_of_executions_is_that_of_hand_arithmetic(client: FlaskClient) -> None:
    found = quality(client)
    parts, span = found.pop("by_strategy"), found.pop("time_range")
    assert (span, set(parts)) == ("24h", {PARTLY, WHOLE})
    # Impact of the purchase: from 40.05 to 40.15; of the sale: from 40.20 to 40.20.
    impact = (40.15 - 40.05) / 40.05 * 10_000
    assert found == pytest.approx(
        {
            "fill_rate": 1 / 3,
            "quantity_fill_rate": 1000 / 1200,
            "rejection_rate": 1 / 4,
            "cancellation_rate": 1 / 4,
            "avg_latency_ms": 40.5,
            "latency_p50_ms": 31.0,
            "latency_p95_ms": 50.0,
            "latency_p99_ms": 50.0,
            "avg_slippage_bps": (0.91 * 900 - 2.0 * 100) / 1000,
            "market_impact_bps": impact * 900 / 1000,
            "implementation_shortfall_bps": 29.75,
        }
    )
    assert parts[PARTLY] == pytest.approx(
        {
            "fill_rate": 0.0,
            "quantity_fill_rate": 0.9,
            "rejection_rate": 0.0,
            "cancellation_rate": 1.0,
            "avg_latency_ms": 31.0,
            "latency_p50_ms": 31.0,
            "latency_p95_ms": 31.0,
            "latency_p99_ms": 31.0,
            "avg_slippage_bps": 0.91,
            "market_impact_bps": impact,
            "implementation_shortfall_bps": 29.75,
        }
    )
    assert parts[WHOLE]["implementation_shortfall_bps"] is None


def test_quality_is_that_of_one_instrument_and_range(client: FlaskClient) -> None:
    assert quality(client, symbol="AAPL", time_range="1h")["cancellation_rate"] == 0.25
    assert quality(client, symbol="EUR_USD")["cancellation_rate"] is None
