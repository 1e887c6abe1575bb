"""SQL of `position_checkpoints` (store layer): each position at the beginning of a day."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from db.postgres import Cursor
from db.rows import select_rows, upsert_rows


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """A position at 00:00 of `day` in `OBS_DAY_ZONE`, with the mark of that moment.

    The other fields are those of `db.reports.positions.PositionRow`.
    """

    day: date
    bot: str
    strategy: str
    symbol: str
    quantity: Decimal
    average: Decimal
    gross: Decimal
    fees: Mapping[str, Decimal]
    mark: Decimal | None
    as_of_seq: int
    currency: str = "USD"
    multiplier: Decimal = Decimal(1)
    opened: datetime | None = None
    opening_fill: str | None = None
    trip_quantity: Decimal | None = None
    trip_gross: Decimal | None = None
    trip_fees: Mapping[str, Decimal] | None = None


def save_checkpoints(cursor: Cursor, rows: Sequence[CheckpointRow]) -> None:
    """Insert the checkpoints, or replace them."""
    upsert_rows(cursor, "position_checkpoints", rows, ("day", "bot", "strategy", "symbol"))


def checkpoints_of_day(cursor: Cursor, day: date, strategies: Collection[tuple[str, str]] | None = None) -> list[CheckpointRow]:
    """The checkpoints of a day: of these strategies (bot, strategy), or of all (None)."""
    rest, parameters = "WHERE day = %s", list[object]([day])
    if strategies is not None:
        rest += " AND (bot, strategy) IN (SELECT * FROM unnest(%s::text[], %s::text[]))"
        parameters += [[bot for bot, _ in strategies], [name for _, name in strategies]]
    return select_rows(cursor, CheckpointRow, "position_checkpoints", f"{rest} ORDER BY bot, strategy, symbol", parameters)


def checkpoints_of(cursor: Cursor, bot: str, strategy: str, symbol: str, since: date | None = None) -> list[CheckpointRow]:
    """The checkpoints of a position from `since` on, in the order of days."""
    rest = "WHERE bot = %s AND strategy = %s AND symbol = %s AND day >= coalesce(%s, '-infinity'::date) ORDER BY day"
    return select_rows(cursor, CheckpointRow, "position_checkpoints", rest, (bot, strategy, symbol, since))


def last_checkpoint(cursor: Cursor, bot: str, strategy: str, symbol: str, day: date) -> CheckpointRow | None:
    """The newest checkpoint of a position of that day or an earlier one; None if there is none."""
    rest = "WHERE bot = %s AND strategy = %s AND symbol = %s AND day <= %s ORDER BY day DESC LIMIT 1"
    return next(iter(select_rows(cursor, CheckpointRow, "position_checkpoints", rest, (bot, strategy, symbol, day))), None)
