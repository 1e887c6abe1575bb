"""SQL of `raw_trades` and `trade_watermarks`."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from typing import Any

from db.partitions import make_months

_COLUMNS = "symbol, trade_id, time, price, quantity, side"
_MONTHS = re.compile(rb"^[^\t]*\t[^\t]*\t(\d{4}-\d\d)", re.MULTILINE)


def insert_trades(cursor: Any, lines: bytes) -> int:
    """Store the trades that are not stored yet, and mark their minutes for the candles; returns how many trades that were.

    `lines` is what `trade_lines` gives. Makes the months they need.
    """
    make_months(cursor, "raw_trades", {month.decode() for month in set(_MONTHS.findall(lines))})
    cursor.execute("CREATE TEMP TABLE IF NOT EXISTS trades_staging (LIKE raw_trades) ON COMMIT DELETE ROWS")
    cursor.copy_expert(f"COPY trades_staging ({_COLUMNS}) FROM STDIN", io.BytesIO(lines))
    cursor.execute(f"INSERT INTO raw_trades ({_COLUMNS}) SELECT {_COLUMNS} FROM trades_staging ON CONFLICT DO NOTHING")  # noqa: S608
    inserted = int(cursor.rowcount)
    if inserted:
        cursor.execute("INSERT INTO candle_marks SELECT DISTINCT symbol, date_trunc('minute', time) FROM trades_staging")
    cursor.execute("TRUNCATE trades_staging")
    return inserted


def latest_ids(cursor: Any, symbols: Iterable[str]) -> dict[str, int]:
    """symbol -> id of its last stored trade; symbols without one are left out."""
    cursor.execute(
        "SELECT s.symbol, t.trade_id FROM unnest(%s::text[]) AS s(symbol), LATERAL ("
        "  SELECT trade_id FROM raw_trades WHERE symbol = s.symbol ORDER BY time DESC, trade_id DESC LIMIT 1) t",
        (list(symbols),),
    )
    return dict(cursor.fetchall())
