"""SQL of `signals` (store layer)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from db.postgres import Cursor
from db.rows import insert_rows


@dataclass(frozen=True, slots=True)
class SignalRow:
    """One signal of a strategy."""

    bot: str
    id: str
    time: datetime
    received: datetime
    seq: int
    strategy: str
    symbol: str
    signal: str
    outcome: str
    price: Decimal | None = None
    confidence: float | None = None


def insert_signals(cursor: Cursor, rows: Sequence[SignalRow]) -> int:
    """Insert the signals that are not stored yet; returns their number."""
    return insert_rows(cursor, "signals", rows)


def signal_counts(cursor: Cursor, start: datetime) -> dict[tuple[str, str, str], int]:
    """(bot, strategy, outcome) -> number of signals from `start` on."""
    cursor.execute("SELECT bot, strategy, outcome, count(*) FROM signals WHERE time >= %s GROUP BY 1, 2, 3", (start,))
    return {(bot, strategy, outcome): count for bot, strategy, outcome, count in cursor.fetchall()}
