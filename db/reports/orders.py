"""SQL of `orders` (store layer)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from db.postgres import Cursor, one
from db.reports.model import TERMINAL_STATUSES
from db.rows import select_rows, upsert_rows

KEY = ("bot", "order_id")


@dataclass(frozen=True, slots=True)
class OrderRow:
    """The state of an order. `time` and `seq` are those of the report whose status counts.

    An order that is `implicit` was made of a fill: quantity and type are None until its report.
    """

    bot: str
    order_id: str
    strategy: str
    symbol: str
    side: str
    quantity: Decimal | None
    order_type: str | None
    price: Decimal | None
    client_order_id: str | None
    status: str
    reason: str | None
    filled_quantity: Decimal
    average_price: Decimal | None
    submitted: datetime | None
    acknowledged: datetime | None
    first_fill: datetime | None
    finished: datetime | None
    arrival_price: Decimal | None
    decision_price: Decimal | None
    decision_time: datetime | None
    implicit: bool
    seq: int
    time: datetime


def save_orders(cursor: Cursor, rows: Sequence[OrderRow]) -> None:
    """Insert the orders, or replace their state."""
    upsert_rows(cursor, "orders", rows, KEY)


def find_orders(cursor: Cursor, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], OrderRow]:
    """(bot, order_id) -> order, of those that are stored."""
    pairs = list(keys)
    bots, order_ids = [bot for bot, _ in pairs], [name for _, name in pairs]
    rest = "JOIN unnest(%s::text[], %s::text[]) AS wanted (bot, order_id) USING (bot, order_id)"
    return {(row.bot, row.order_id): row for row in select_rows(cursor, OrderRow, "orders", rest, (bots, order_ids))}


def open_orders(cursor: Cursor) -> list[OrderRow]:
    """The orders that are not in a terminal state."""
    return select_rows(cursor, OrderRow, "orders", "WHERE status <> ALL (%s) ORDER BY time, seq", (list(TERMINAL_STATUSES),))


def count_terminal(cursor: Cursor, since: datetime) -> tuple[int, int]:
    """The numbers of rejected and of all terminal orders that ended at `since` or later."""
    cursor.execute(
        "SELECT count(*) FILTER (WHERE status = 'rejected'), count(*) FROM orders WHERE time >= %s AND status = ANY (%s)",
        (since, list(TERMINAL_STATUSES)),
    )
    rejected, terminal = one(cursor)
    return int(rejected), int(terminal)


def orders_since(cursor: Cursor, start: datetime) -> list[OrderRow]:
    """The orders whose last report is of `start` or later, in the order (time, seq)."""
    return select_rows(cursor, OrderRow, "orders", "WHERE time >= %s ORDER BY time, seq", (start,))
