"""SQL of `metrics_market_*` (store layer)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from db.metrics.columns import Section
from db.metrics.marks import insert_seconds
from db.postgres import Cursor

MARKET = Section(
    "market",
    ("symbol",),
    {
        **dict.fromkeys(("last_price", "bid", "ask"), "last"),
        "high": "max",
        "low": "min",
        "vwap": "last",
        "volume": "sum",
        "trades": "count",
        "spread_bps_sum": "sum",
        "spread_bps_samples": "count",
    },
    {"spread_bps": ("spread_bps_sum", "spread_bps_samples")},
)


@dataclass(frozen=True, slots=True)
class MarketRow:
    """One second of one instrument. `time` is its start.

    `high` and `low` are those of the second, `volume` and `trades` too; None without exchange
    trades. `vwap` covers the UTC day so far.
    """

    time: datetime
    symbol: str
    last_price: Decimal | None
    bid: Decimal | None
    ask: Decimal | None
    high: Decimal | None
    low: Decimal | None
    vwap: Decimal | None = None
    volume: Decimal | None = None
    trades: int | None = None
    spread_bps_sum: float | None = None
    spread_bps_samples: int = 0


def insert_market(cursor: Cursor, rows: Sequence[MarketRow]) -> int:
    """Insert the rows that are not stored yet, and mark their minutes; returns their number."""
    return insert_seconds(cursor, MARKET, rows)
