"""SQL of `positions` (store layer): the state of each position after its last fill."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from db.postgres import Cursor
from db.reports.fills import PositionKey
from db.rows import select_rows, upsert_rows


@dataclass(frozen=True, slots=True)
class PositionRow:
    """A position: signed quantity, average cost, gross profit, and fees: currency -> amount.

    `as_of_seq` is the greatest number of the reports in it, `last_time` the time of its last fill.
    `currency` is that of prices and gross. The fields from `opened` on are those of the open round
    trip: None if the position is flat.
    """

    bot: str
    strategy: str
    symbol: str
    quantity: Decimal
    average: Decimal
    gross: Decimal
    fees: Mapping[str, Decimal]
    as_of_seq: int
    last_time: datetime | None = None
    currency: str = "USD"
    multiplier: Decimal = Decimal(1)
    opened: datetime | None = None
    opening_fill: str | None = None
    trip_quantity: Decimal | None = None
    trip_gross: Decimal | None = None
    trip_fees: Mapping[str, Decimal] | None = None

    @property
    def key(self) -> PositionKey:
        """Bot, strategy, symbol."""
        return self.bot, self.strategy, self.symbol


def save_positions(cursor: Cursor, rows: Sequence[PositionRow]) -> None:
    """Insert the positions, or replace their state."""
    upsert_rows(cursor, "positions", rows, ("bot", "strategy", "symbol"))


def all_positions(cursor: Cursor) -> list[PositionRow]:
    """Every position, flat ones too."""
    return select_rows(cursor, PositionRow, "positions", "ORDER BY bot, strategy, symbol")


def find_positions(cursor: Cursor, keys: Iterable[PositionKey]) -> dict[PositionKey, PositionRow]:
    """(bot, strategy, symbol) -> position, of those that are stored."""
    columns = [list(column) for column in zip(*keys, strict=True)] or [[], [], []]
    rest = "JOIN unnest(%s::text[], %s::text[], %s::text[]) AS wanted (bot, strategy, symbol) USING (bot, strategy, symbol)"
    return {row.key: row for row in select_rows(cursor, PositionRow, "positions", rest, columns)}


def positions_without_checkpoint(cursor: Cursor, day: date) -> list[PositionRow]:
    """The positions without a checkpoint of `day`."""
    rest = (
        "p WHERE NOT EXISTS (SELECT FROM position_checkpoints c"
        " WHERE (c.bot, c.strategy, c.symbol) = (p.bot, p.strategy, p.symbol) AND c.day = %s) ORDER BY bot, strategy, symbol"
    )
    return select_rows(cursor, PositionRow, "positions", rest, (day,))


def fee_currencies(cursor: Cursor) -> list[tuple[str, str]]:
    """(currency of fees, currency of the position) of all positions, if the two differ."""
    cursor.execute("SELECT DISTINCT fee, currency FROM positions, jsonb_object_keys(fees) AS fee WHERE fee <> currency ORDER BY 1, 2")
    return [(fee, currency) for fee, currency in cursor.fetchall()]
