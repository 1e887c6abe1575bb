"""A fill of the observer becomes the `Trade` of the contract on plain WebSockets."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from api.hub.plain.metrics.notifications import notification_of
from db.reports.fills import FillRow
from jobs.observer.events import _trade

# The order and the values of the example of `GET /api/trades`.
EXPECTED = (
    '{"trade_id":"mm-1:f-17","symbol":"EUR_USD","side":"buy","quantity":1000,"price":1.09450,"timestamp":"2025-11-18T12:34:56.789123Z",'
    '"latency_ms":31.2,"slippage_bps":0.91,"pnl":null,"strategy":"mean_reversion","order_id":"o-6","bot":"mm-1","fee":0.02,'
    '"fee_currency":"USD","currency":"USD","liquidity":"taker","time_received":"2025-11-18T12:34:56.790001Z"}'
)


def fill() -> FillRow:
    time = datetime(2025, 11, 18, 12, 34, 56, 789123, UTC)
    received = time.replace(microsecond=790001)
    head = ("mm-1", "f-17", time, received, 1, "mean_reversion", "o-6", "EUR_USD", "buy")
    return FillRow(
        *head, Decimal(1000), Decimal("1.09450"), Decimal("0.02"), "USD", "USD", Decimal(1), "taker", slippage_bps=0.91, latency_ms=31.2
    )


def test_notification_has_the_fields_and_digits_of_a_trade() -> None:
    event = json.loads(json.dumps({**_trade(fill()), "timestamp": "2025-11-18T12:34:57.000000Z"}))
    assert notification_of(event) == ("trades", EXPECTED.encode())


def test_profit_is_a_literal_too() -> None:
    _, text = notification_of(_trade(replace(fill(), realised=Decimal("-0.648")))) or ("", b"")
    assert b'"pnl":-0.648,' in text
