"""SQL of `strategy_drawdowns` (store layer): the greatest declines of each strategy so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from db.postgres import Cursor
from db.rows import select_rows, upsert_rows

ALL_BOTS = ""  # the name of all bots of a strategy together


@dataclass(frozen=True, slots=True)
class DrawdownRow:
    """Peak and greatest decline of the P&L of a strategy; and of its equity, if it is reported."""

    bot: str
    strategy: str
    peak: Decimal
    deepest: Decimal
    equity_peak: Decimal | None = None
    deepest_ratio: Decimal | None = None


def save_drawdowns(cursor: Cursor, rows: Sequence[DrawdownRow]) -> None:
    """Insert the rows, or replace them."""
    upsert_rows(cursor, "strategy_drawdowns", rows, ("bot", "strategy"))


def all_drawdowns(cursor: Cursor) -> list[DrawdownRow]:
    """Every row."""
    return select_rows(cursor, DrawdownRow, "strategy_drawdowns", "ORDER BY bot, strategy")
