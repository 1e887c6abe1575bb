"""SQL of `metrics_strategy_*` (store layer)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from db.metrics.columns import Section
from db.metrics.marks import insert_seconds
from db.postgres import Cursor, scalar

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


def past_pnl(cursor: Cursor, start: datetime) -> list[tuple[str, Decimal | None, Decimal]]:
    """(strategy, lowest P&L, last P&L) of each hour since `start`, summed over bots, in order.

    The last hours come from minutes. The lowest P&L is None if several bots run the strategy: their
    lowest values are not those of one moment.
    """
    found = []
    for tier, first, last in (("1h", "%(start)s", "%(recent)s"), ("1m", "%(recent)s", "'infinity'")):
        cursor.execute(
            f"SELECT strategy, CASE WHEN count(*) = 1 THEN min(pnl_min) END, sum(pnl) FROM metrics_strategy_{tier}"  # noqa: S608
            f" WHERE time >= {first} AND time < {last} AND pnl IS NOT NULL GROUP BY time, strategy ORDER BY time",
            {"start": start, "recent": _recent(cursor)},
        )
        found += [(strategy, None if low is None else Decimal(low), Decimal(pnl)) for strategy, low, pnl in cursor.fetchall()]
    return found


def _recent(cursor: Cursor) -> datetime:
    """The start of the first hour that is not rolled up yet: an hour after the last one."""
    cursor.execute("SELECT coalesce(max(time) + interval '1 hour', '1970-01-01T00:00:00Z') FROM metrics_strategy_1h")
    moment: datetime = scalar(cursor)
    return moment
