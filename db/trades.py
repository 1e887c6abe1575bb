"""SQL of `raw_trades` (store layer)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from psycopg2 import errors

from db.copy import copy_rows, empty_staging, insert_staged, stage_rows
from db.partitions import make_months
from db.postgres import Cursor

_COLUMNS = "symbol, trade_id, time, price, quantity, side"
# Symbol and minute of a line. Matching the whole line is faster than a search for the next one.
_MINUTES = re.compile(rb"([^\t\n]*)\t[^\t\n]*\t(.{16}).*")


def insert_trades(cursor: Cursor, lines: bytes) -> int:
    """Insert the trades that are not stored yet and mark their minutes; returns their number.

    `lines` comes from `db.messages.trade_lines`. Missing monthly partitions are created.
    """
    minutes = [(symbol.decode(), minute.decode() + "Z") for symbol, minute in set(_MINUTES.findall(lines))]
    make_months(cursor, "raw_trades", {minute[:7] for _, minute in minutes})
    inserted = _copy(cursor, lines)
    if inserted is None:
        inserted = _copy_new(cursor, lines)
    if inserted:
        symbols, starts = zip(*minutes, strict=True)
        cursor.execute("INSERT INTO candle_marks SELECT * FROM unnest(%s::text[], %s::timestamptz[])", (list(symbols), list(starts)))
    return inserted


def _copy(cursor: Cursor, lines: bytes) -> int | None:
    """Copy into the table directly, at a third of the cost; returns the number of trades.

    Returns None, without any effect, if one of the trades is stored already.
    """
    cursor.execute("SAVEPOINT copy")
    try:
        return copy_rows(cursor, "raw_trades", _COLUMNS, lines)
    except errors.UniqueViolation:
        cursor.execute("ROLLBACK TO SAVEPOINT copy")
        return None


def _copy_new(cursor: Cursor, lines: bytes) -> int:
    """Copy via a staging table and skip stored or repeated trades; returns the number inserted."""
    stage_rows(cursor, "raw_trades", _COLUMNS, lines)
    inserted = insert_staged(cursor, "raw_trades", _COLUMNS)
    empty_staging(cursor, "raw_trades")
    return inserted


def latest_ids(cursor: Cursor, symbols: Iterable[str]) -> dict[str, int]:
    """symbol -> id of its last stored trade; symbols without a trade are left out."""
    cursor.execute(
        "SELECT s.symbol, t.trade_id FROM unnest(%s::text[]) AS s(symbol), LATERAL ("
        "  SELECT trade_id FROM raw_trades WHERE symbol = s.symbol ORDER BY time DESC, trade_id DESC LIMIT 1) t",
        (list(symbols),),
    )
    return dict(cursor.fetchall())
