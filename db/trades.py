"""SQL of `raw_trades`."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable

from psycopg2 import errors

from db.partitions import make_months
from db.postgres import Cursor

_COLUMNS = "symbol, trade_id, time, price, quantity, side"
_MINUTES = re.compile(rb"([^\t\n]*)\t[^\t\n]*\t(.{16}).*")  # of a whole line: quicker than to look for the next one's beginning
_PIECE = 1 << 20  # bytes that are sent at once; psycopg2's own 8 KB would wait for the interpreter a hundred times as often


def insert_trades(cursor: Cursor, lines: bytes) -> int:
    """Store the trades that are not stored yet, and mark their minutes for the candles; returns how many trades that were.

    `lines` is what `db.messages.trade_lines` gives. Makes the months they need.
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
    """Straight into the table, a third of the work; None, and nothing done, where a trade is there already."""
    cursor.execute("SAVEPOINT copy")
    try:
        cursor.copy_expert(f"COPY raw_trades ({_COLUMNS}) FROM STDIN", io.BytesIO(lines), _PIECE)
    except errors.UniqueViolation:
        cursor.execute("ROLLBACK TO SAVEPOINT copy")
        return None
    return int(cursor.rowcount)


def _copy_new(cursor: Cursor, lines: bytes) -> int:
    """By way of a staging table; what is there already, or comes twice, is passed over."""
    cursor.execute("CREATE TEMP TABLE IF NOT EXISTS trades_staging (LIKE raw_trades) ON COMMIT DELETE ROWS")
    cursor.copy_expert(f"COPY trades_staging ({_COLUMNS}) FROM STDIN", io.BytesIO(lines), _PIECE)
    cursor.execute(f"INSERT INTO raw_trades ({_COLUMNS}) SELECT {_COLUMNS} FROM trades_staging ON CONFLICT DO NOTHING")  # noqa: S608
    inserted = int(cursor.rowcount)
    cursor.execute("TRUNCATE trades_staging")
    return inserted


def latest_ids(cursor: Cursor, symbols: Iterable[str]) -> dict[str, int]:
    """symbol -> id of its last stored trade; symbols without one are left out."""
    cursor.execute(
        "SELECT s.symbol, t.trade_id FROM unnest(%s::text[]) AS s(symbol), LATERAL ("
        "  SELECT trade_id FROM raw_trades WHERE symbol = s.symbol ORDER BY time DESC, trade_id DESC LIMIT 1) t",
        (list(symbols),),
    )
    return dict(cursor.fetchall())
