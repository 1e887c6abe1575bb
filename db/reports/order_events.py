"""SQL of `order_events` (store layer): each report of an order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from db.postgres import Cursor
from db.rows import insert_rows, select_rows


@dataclass(frozen=True, slots=True)
class OrderEventRow:
    """One report of an order."""

    bot: str
    id: str
    time: datetime
    received: datetime
    seq: int
    order_id: str
    status: str
    reason: str | None = None


def insert_order_events(cursor: Cursor, rows: Sequence[OrderEventRow]) -> int:
    """Insert the events that are not stored yet; returns their number."""
    return insert_rows(cursor, "order_events", rows)


def events_of_order(cursor: Cursor, bot: str, order_id: str) -> list[OrderEventRow]:
    """The events of an order, in the order (time, seq)."""
    return select_rows(cursor, OrderEventRow, "order_events", "WHERE bot = %s AND order_id = %s ORDER BY time, seq", (bot, order_id))
