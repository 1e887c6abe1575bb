"""SQL of `fills` (store layer)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from db.copy import empty_staging, stage_rows
from db.postgres import Cursor
from db.rows import columns_of, insert_rows, lines_of, select_rows

PositionKey = tuple[str, str, str]  # bot, strategy, symbol

_PART = 5_000  # fills that are read at a time

# Values that a correction or a computation changes.
_CHANGED = ("quantity", "price", "fee", "realised", "arrival_price", "slippage_bps", "latency_ms", "voided")


@dataclass(frozen=True, slots=True)
class FillRow:
    """One fill. `realised` is the profit of the closed quantity; None if it closed nothing."""

    bot: str
    fill_id: str
    time: datetime
    received: datetime
    seq: int
    strategy: str
    order_id: str
    symbol: str
    side: str
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_currency: str | None
    currency: str
    multiplier: Decimal
    liquidity: str | None = None
    realised: Decimal | None = None
    arrival_price: Decimal | None = None
    slippage_bps: float | None = None
    latency_ms: float | None = None
    voided: bool = False

    @property
    def position(self) -> PositionKey:
        """The key of the position that the fill changes."""
        return self.bot, self.strategy, self.symbol


def insert_fills(cursor: Cursor, rows: Sequence[FillRow]) -> int:
    """Insert the fills that are not stored yet; returns their number."""
    return insert_rows(cursor, "fills", rows)


def fills_of(cursor: Cursor, position: PositionKey, since: datetime | None = None) -> list[FillRow]:
    """The fills of a position from `since` on, voided ones too, in the order (time, seq)."""
    return select_rows(
        cursor,
        FillRow,
        "fills",
        "WHERE bot = %s AND strategy = %s AND symbol = %s AND time >= coalesce(%s, '-infinity'::timestamptz) ORDER BY time, seq",
        (*position, since),
    )


def fills_in_order(cursor: Cursor, position: PositionKey, since: datetime | None, before: datetime | None) -> Iterator[FillRow]:
    """Yield the fills of a position with `since` <= time < `before`, without voided ones.

    They are in the order (time, seq), and are read in parts: a caller that has enough stops.
    """
    rest = (
        "WHERE bot = %(bot)s AND strategy = %(strategy)s AND symbol = %(symbol)s AND NOT voided AND time >= %(since)s"
        " AND time < %(before)s AND (time, seq) > (%(since)s, %(seq)s) ORDER BY time, seq LIMIT %(most)s"
    )
    place: dict[str, Any] = {"since": since or "-infinity", "seq": -1, "before": before or "infinity", "most": _PART}
    place |= dict(zip(("bot", "strategy", "symbol"), position, strict=True))
    while True:
        rows = select_rows(cursor, FillRow, "fills", rest, place)
        yield from rows
        if len(rows) < _PART:
            return
        place |= {"since": rows[-1].time, "seq": rows[-1].seq}


def fills_of_orders(cursor: Cursor, bot: str, order_ids: Iterable[str]) -> list[FillRow]:
    """The fills of these orders, voided ones too, in the order (time, seq)."""
    return select_rows(cursor, FillRow, "fills", "WHERE bot = %s AND order_id = ANY (%s) ORDER BY time, seq", (bot, list(order_ids)))


def find_fills(cursor: Cursor, bot: str, fill_ids: Iterable[str]) -> dict[str, FillRow]:
    """fill_id -> fill, of those that are stored."""
    rows = select_rows(cursor, FillRow, "fills", "WHERE bot = %s AND fill_id = ANY (%s)", (bot, list(fill_ids)))
    return {row.fill_id: row for row in rows}


def change_fills(cursor: Cursor, rows: Sequence[FillRow]) -> None:
    """Store the changed values of these fills: corrections and figures."""
    if not rows:
        return
    staging = stage_rows(cursor, "fills", ", ".join(columns_of(FillRow)), lines_of(FillRow, rows))
    changes = ", ".join(f"{name} = s.{name}" for name in _CHANGED)
    cursor.execute(
        f"UPDATE fills f SET {changes} FROM {staging} s WHERE f.bot = s.bot AND f.fill_id = s.fill_id AND f.time = s.time"  # noqa: S608
    )
    empty_staging(cursor, "fills")
