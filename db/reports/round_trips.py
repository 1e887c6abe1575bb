"""SQL of `round_trips` (store layer): closed ones, from flat to flat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from db.postgres import Cursor
from db.rows import select_rows, upsert_rows

KEY = ("bot", "strategy", "symbol", "opened", "opening_fill")


@dataclass(frozen=True, slots=True)
class RoundTripRow:
    """A round trip; `side` is `long` or `short`, `net` is gross less fees, in `currency`."""

    bot: str
    strategy: str
    symbol: str
    opened: datetime
    opening_fill: str
    closed: datetime
    side: str
    quantity: Decimal
    gross: Decimal
    fees: Decimal
    net: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class TripTotals:
    """Counts and sums of the net profits of the closed trips of a strategy in one currency."""

    bot: str
    strategy: str
    currency: str
    wins: int
    losses: int
    draws: int
    won: Decimal
    lost: Decimal


def save_round_trips(cursor: Cursor, rows: Sequence[RoundTripRow]) -> None:
    """Insert the round trips, or replace them."""
    upsert_rows(cursor, "round_trips", rows, KEY)


def delete_round_trips(cursor: Cursor, bot: str, strategy: str, symbol: str, closed_since: datetime) -> int:
    """Delete the round trips of a position that closed at this time or later; returns their number.

    Before they are computed again from a late fill or a correction.
    """
    cursor.execute(
        "DELETE FROM round_trips WHERE bot = %s AND strategy = %s AND symbol = %s AND closed >= %s", (bot, strategy, symbol, closed_since)
    )
    return int(cursor.rowcount)


def all_round_trips(cursor: Cursor) -> list[RoundTripRow]:
    """Every stored round trip, in the order of their ends."""
    return select_rows(cursor, RoundTripRow, "round_trips", "ORDER BY closed, opened, opening_fill")


def trip_totals(cursor: Cursor, bot: str | None = None, strategy: str | None = None) -> list[TripTotals]:
    """The sums of the closed trips, of one strategy or of all (None), by currency."""
    cursor.execute(
        "SELECT bot, strategy, currency, count(*) FILTER (WHERE net > 0), count(*) FILTER (WHERE net < 0), count(*) FILTER (WHERE net = 0),"
        " coalesce(sum(net) FILTER (WHERE net > 0), 0), coalesce(sum(net) FILTER (WHERE net < 0), 0) FROM round_trips"
        " WHERE (%(bot)s::text IS NULL OR bot = %(bot)s) AND (%(strategy)s::text IS NULL OR strategy = %(strategy)s) GROUP BY 1, 2, 3",
        {"bot": bot, "strategy": strategy},
    )
    return [TripTotals(row[0], row[1], row[2], row[3], row[4], row[5], Decimal(row[6]), Decimal(row[7])) for row in cursor.fetchall()]
