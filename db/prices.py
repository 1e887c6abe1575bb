"""SQL of `prices`."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from psycopg2 import sql

_COLUMNS = "instrument, time, received, bid, ask, mid, volume, source, epoch, seq"
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


@dataclass(frozen=True, slots=True)
class PriceRow:
    """One row as text: times in contract form, decimals with the source's own digits."""

    instrument: str
    time: str
    received: str
    bid: str
    ask: str
    mid: str
    volume: str | None
    source: str
    epoch: str
    seq: int


def insert_prices(cursor: Any, rows: Sequence[PriceRow]) -> int:
    """Store the rows that are not stored yet; returns how many that were. Makes the months they need."""
    make_months(cursor, {row.time[:7] for row in rows})
    cursor.execute("CREATE TEMP TABLE IF NOT EXISTS prices_staging (LIKE prices) ON COMMIT DELETE ROWS")
    cursor.copy_expert(f"COPY prices_staging ({_COLUMNS}) FROM STDIN", io.StringIO("".join(map(_copy_line, rows))))
    cursor.execute(f"INSERT INTO prices ({_COLUMNS}) SELECT {_COLUMNS} FROM prices_staging ON CONFLICT DO NOTHING")  # noqa: S608
    return int(cursor.rowcount)


def make_months(cursor: Any, months: Iterable[str]) -> None:
    """Make the partition of each month (`2014-05`) that has none."""
    cursor.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'prices'::regclass")
    there = {name for (name,) in cursor.fetchall()}
    for month in sorted(months):
        name = f"prices_{month.replace('-', '_')}"
        if name not in there:
            _make_month(cursor, name, month)


def _make_month(cursor: Any, name: str, month: str) -> None:
    first = date.fromisoformat(f"{month}-01")
    following = f"{first.year + first.month // 12:04}-{first.month % 12 + 1:02}-01"
    # CREATE … IF NOT EXISTS alone still races with another writer.
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext('prices months'))")
    cursor.execute(
        sql.SQL("CREATE TABLE IF NOT EXISTS {} PARTITION OF prices FOR VALUES FROM ({}) TO ({})").format(
            sql.Identifier(name), sql.Literal(f"{first}T00:00:00Z"), sql.Literal(f"{following}T00:00:00Z")
        )
    )


def latest_mids(cursor: Any) -> dict[str, str]:
    """instrument -> mid of its last stored price, by source time."""
    cursor.execute(
        "SELECT i.symbol, p.mid FROM instruments i, LATERAL ("
        "  SELECT mid FROM prices WHERE instrument = i.symbol ORDER BY time DESC, epoch DESC, seq DESC LIMIT 1) p"
    )
    return dict(cursor.fetchall())


def _copy_line(row: PriceRow) -> str:
    volume = row.volume if row.volume is not None else "\\N"
    source = row.source.translate(_ESCAPES)
    return (
        f"{row.instrument}\t{row.time}\t{row.received}\t{row.bid}\t{row.ask}\t{row.mid}\t{volume}\t{source}\t{row.epoch}\t{row.seq}\n"
    )
