"""Stored prices at given times: arrival prices, and marks of checkpoints."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from db.postgres import Cursor
from db.prices import CLOSING

IMPACT_DELAY = timedelta(seconds=5)  # from the last fill of an order to the mid of its impact
MID_AGE = timedelta(seconds=60)  # up to which a stored price is the mid of a time


@dataclass(frozen=True, slots=True)
class PastQuote:
    """A stored price."""

    time: datetime
    bid: Decimal
    ask: Decimal
    mid: Decimal


def quotes_at(cursor: Cursor, wanted: Collection[tuple[str, datetime]], max_age: timedelta) -> dict[tuple[str, datetime], PastQuote]:
    """(instrument, time) -> its last stored price at that time, at most `max_age` older.

    Without such a price, the pair is left out. Closing prices of candles do not count.
    """
    if not wanted:
        return {}
    symbols, times = zip(*sorted(set(wanted)), strict=True)
    cursor.execute(
        "SELECT w.symbol, w.at, p.time, p.bid, p.ask, p.mid FROM unnest(%(symbols)s::text[], %(times)s::timestamptz[]) AS w (symbol, at),"
        " LATERAL (SELECT time, bid, ask, mid FROM prices WHERE instrument = w.symbol AND time <= w.at AND time >= w.at - %(age)s"
        "  AND source <> %(closing)s ORDER BY time DESC, epoch DESC, seq DESC LIMIT 1) p",
        {"symbols": list(symbols), "times": list(times), "age": max_age, "closing": CLOSING},
    )
    return {(symbol, at): PastQuote(time, Decimal(bid), Decimal(ask), Decimal(mid)) for symbol, at, time, bid, ask, mid in cursor}
