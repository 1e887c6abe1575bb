"""SQL of `metrics_strategy_*` (store layer)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from db.metrics.columns import Section
from db.metrics.marks import insert_seconds
from db.postgres import Cursor

STRATEGY = Section(
    "strategy",
    ("bot", "strategy"),
    {
        **dict.fromkeys(("pnl", "daily_pnl", "realized_pnl", "unrealized_pnl", "positions", "signals", "win_rate"), "last"),
        "pnl_min": "min",
        "pnl_max": "max",
    },
    {},
)


@dataclass(frozen=True, slots=True)
class StrategyRow:
    """One second of one strategy. `pnl_min` and `pnl_max` are the extremes of `pnl` in it."""

    time: datetime
    bot: str
    strategy: str
    pnl: Decimal | None
    daily_pnl: Decimal | None
    realized_pnl: Decimal | None
    unrealized_pnl: Decimal | None
    positions: int | None
    signals: int | None
    win_rate: float | None
    pnl_min: Decimal | None
    pnl_max: Decimal | None


def insert_strategy(cursor: Cursor, rows: Sequence[StrategyRow]) -> int:
    """Insert the rows that are not stored yet, and mark their minutes; returns their number."""
    return insert_seconds(cursor, STRATEGY, rows)
