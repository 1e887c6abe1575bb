"""SQL of `corrections` (store layer): they may come before their fill, and in any order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from db.postgres import Cursor
from db.rows import insert_rows, select_rows


@dataclass(frozen=True, slots=True)
class CorrectionRow:
    """One correction: `cancel`, or `replace` with the values that are not None."""

    bot: str
    id: str
    fill_id: str
    time: datetime
    received: datetime
    seq: int
    action: str
    quantity: Decimal | None = None
    price: Decimal | None = None
    fee: Decimal | None = None


def insert_corrections(cursor: Cursor, rows: Sequence[CorrectionRow]) -> int:
    """Insert the corrections that are not stored yet; returns their number."""
    return insert_rows(cursor, "corrections", rows)


def corrections_of(cursor: Cursor, bot: str, fill_ids: Iterable[str]) -> list[CorrectionRow]:
    """The corrections of these fills, in the order (time, seq)."""
    return select_rows(
        cursor, CorrectionRow, "corrections", "WHERE bot = %s AND fill_id = ANY (%s) ORDER BY time, seq", (bot, list(fill_ids))
    )
