"""Sums of exchange trades over a span of time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from db.postgres import Cursor


def trade_sums(cursor: Cursor, symbols: Sequence[str], start: datetime, end: datetime) -> dict[str, tuple[int, Decimal, Decimal]]:
    """symbol -> (trades, Σ quantity, Σ price·quantity) of the trades with start <= time < end."""
    cursor.execute(
        "SELECT s.symbol, t.count, t.volume, t.value FROM unnest(%(symbols)s::text[]) AS s (symbol), LATERAL ("
        "  SELECT count(*), sum(quantity) AS volume, sum(price * quantity) AS value FROM raw_trades"
        "  WHERE symbol = s.symbol AND time >= %(start)s AND time < %(end)s) t WHERE t.count > 0",
        {"symbols": list(symbols), "start": start, "end": end},
    )
    return {symbol: (count, Decimal(volume), Decimal(value)) for symbol, count, volume, value in cursor}
