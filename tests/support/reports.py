"""Reports of bots for tests: good ones, as JSON objects and as models."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from db.reports.model import Fill

MOMENT = datetime(2025, 11, 18, 12, 34, 56, 789_123, tzinfo=UTC)


def fill(number: int = 17, bot: str = "mm-1", **changes: Any) -> Fill:
    """A fill of EUR_USD, another one for each number."""
    values: dict[str, Any] = {
        "bot": bot, "strategy": "mean_reversion", "id": f"f-{number}", "time": MOMENT, "order_id": f"o-{number}", "symbol": "EUR_USD",
        "side": "buy", "quantity": Decimal(1000), "price": Decimal("1.09450"), "fee": Decimal("0.02"), "fee_currency": "USD",
    }  # fmt: skip
    return Fill(**{**values, **changes})


def fill_body(number: int = 17, **changes: Any) -> dict[str, Any]:
    """The JSON object of that fill; a change to None removes the field."""
    body = {
        "kind": "fill", "bot": "mm-1", "strategy": "mean_reversion", "id": f"f-{number}", "fill_id": f"f-{number}",
        "order_id": f"o-{number}", "symbol": "EUR_USD", "side": "buy", "quantity": "1000", "price": "1.09450", "fee": "0.02",
        "fee_currency": "USD", "time": "2025-11-18T12:34:56.789123Z", **changes,
    }  # fmt: skip
    return {name: value for name, value in body.items() if value is not None}
