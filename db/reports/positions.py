"""SQL of `positions` (store layer): the state of each position after its last fill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from db.postgres import Cursor
from db.rows import select_rows, upsert_rows


@dataclass(frozen=True, slots=True)
class PositionRow:
    """A position: signed quantity, average cost, gross profit, and fees: currency -> amount.

    `as_of_seq` is the number of the last report in it.
    """

    bot: str
    strategy: str
    symbol: str
    quantity: Decimal
    average: Decimal
    gross: Decimal
    fees: Mapping[str, Decimal]
    as_of_seq: int


def save_positions(cursor: Cursor, rows: Sequence[PositionRow]) -> None:
    """Insert the positions, or replace their state."""
    upsert_rows(cursor, "positions", rows, ("bot", "strategy", "symbol"))


def all_positions(cursor: Cursor) -> list[PositionRow]:
    """Every position, flat ones too."""
    return select_rows(cursor, PositionRow, "positions", "ORDER BY bot, strategy, symbol")


def fee_currencies(cursor: Cursor) -> list[str]:
    """The currencies of all fees of positions."""
    cursor.execute("SELECT DISTINCT jsonb_object_keys(fees) FROM positions ORDER BY 1")
    return [currency for (currency,) in cursor.fetchall()]
