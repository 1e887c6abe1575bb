"""Sums over orders and fills of a period (store layer): the quality of executions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from db.postgres import Cursor, scalar


@dataclass(frozen=True, slots=True)
class OrderSums:
    """Orders of one strategy of one bot. Cancelled ones contain the expired ones."""

    bot: str
    strategy: str
    submitted: int
    filled: int
    cancelled: int
    rejected: int
    open: int
    ordered: Decimal  # of the terminal orders
    filled_quantity: Decimal


@dataclass(frozen=True, slots=True)
class FillSums:
    """Fills of one strategy of one bot; slippage is weighted by quantity."""

    bot: str
    strategy: str
    fills: int
    slippage: float
    quantity: Decimal  # of the fills with a slippage


def order_sums(cursor: Cursor, start: datetime) -> list[OrderSums]:
    """The orders whose last report is of `start` or later, and all that are open."""
    terminal = "status IN ('filled', 'cancelled', 'rejected', 'expired')"
    cursor.execute(
        "SELECT bot, strategy, count(*) FILTER (WHERE coalesce(submitted, time) >= %(start)s),"  # noqa: S608
        " count(*) FILTER (WHERE status = 'filled'), count(*) FILTER (WHERE status IN ('cancelled', 'expired')),"
        f" count(*) FILTER (WHERE status = 'rejected'), count(*) FILTER (WHERE NOT {terminal} AND NOT implicit),"
        f" coalesce(sum(quantity) FILTER (WHERE {terminal}), 0), coalesce(sum(filled_quantity) FILTER (WHERE {terminal}), 0)"
        f" FROM orders WHERE time >= %(start)s OR NOT {terminal} GROUP BY 1, 2",
        {"start": start},
    )
    found = []
    for bot, strategy, submitted, full, cancelled, rejected, opened, ordered, filled in cursor.fetchall():
        found.append(OrderSums(bot, strategy, submitted, full, cancelled, rejected, opened, Decimal(ordered), Decimal(filled)))
    return found


def fill_sums(cursor: Cursor, start: datetime) -> list[FillSums]:
    """The fills of `start` or later that count."""
    cursor.execute(
        "SELECT bot, strategy, count(*), coalesce(sum(slippage_bps * quantity), 0)::float,"
        " coalesce(sum(quantity) FILTER (WHERE slippage_bps IS NOT NULL), 0) FROM fills WHERE time >= %s AND NOT voided GROUP BY 1, 2",
        (start,),
    )
    return [FillSums(bot, strategy, fills, slippage, Decimal(quantity)) for bot, strategy, fills, slippage, quantity in cursor.fetchall()]


def latencies(cursor: Cursor, start: datetime) -> list[tuple[float, int]]:
    """(latency in ms, number of orders) of the fills of `start` or later."""
    cursor.execute("SELECT latency_ms, count(*) FROM fills WHERE time >= %s AND latency_ms IS NOT NULL AND NOT voided GROUP BY 1", (start,))
    return [(milliseconds, count) for milliseconds, count in cursor.fetchall()]


def skewed_orders(cursor: Cursor, start: datetime) -> int:
    """The number of orders of `start` or later with a fill before their submission."""
    cursor.execute("SELECT count(*) FROM orders WHERE time >= %s AND first_fill < submitted", (start,))
    return int(scalar(cursor))


def ended_orders(cursor: Cursor, start: datetime, most: int) -> list[tuple[str, str]]:
    """(bot, order_id) of the last `most` orders that ended at `start` or later."""
    cursor.execute(
        "SELECT bot, order_id FROM orders WHERE time >= %s AND status IN ('filled', 'cancelled', 'rejected', 'expired')"
        " ORDER BY time DESC, bot DESC, order_id DESC LIMIT %s",
        (start, most),
    )
    return [(bot, order_id) for bot, order_id in reversed(cursor.fetchall())]
