"""SQL of `prices`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from db.partitions import make_months
from db.postgres import Cursor, scalar

CLOSING = "hourly_job"  # the source of candles' closing prices
# Sources whose quotes make no candles: an exchange tells its trades, and closing prices come from candles.
NO_CANDLES = ("binance", CLOSING)

_COLUMNS = "instrument, time, received, bid, ask, mid, volume, source, epoch, seq"
_TIME = """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
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


def insert_prices(cursor: Cursor, rows: Sequence[PriceRow]) -> int:
    """Store the rows that are not stored yet, and mark their minutes for the candles; returns how many rows that were.

    Makes the months they need.
    """
    make_months(cursor, "prices", {row.time[:7] for row in rows})
    cursor.execute("CREATE TEMP TABLE IF NOT EXISTS prices_staging (LIKE prices) ON COMMIT DELETE ROWS")
    cursor.copy_expert(f"COPY prices_staging ({_COLUMNS}) FROM STDIN", io.StringIO("".join(map(_copy_line, rows))))
    cursor.execute(f"INSERT INTO prices ({_COLUMNS}) SELECT {_COLUMNS} FROM prices_staging ON CONFLICT DO NOTHING")  # noqa: S608
    inserted = int(cursor.rowcount)
    if inserted:
        cursor.execute(
            "INSERT INTO candle_marks SELECT DISTINCT instrument, date_trunc('minute', time) FROM prices_staging WHERE source <> ALL (%s)",
            (list(NO_CANDLES),),
        )
    return inserted


def latest_mids(cursor: Cursor) -> dict[str, str]:
    """instrument -> mid of its last stored price, by source time."""
    cursor.execute(
        "SELECT i.symbol, p.mid FROM instruments i, LATERAL ("
        "  SELECT mid FROM prices WHERE instrument = i.symbol ORDER BY time DESC, epoch DESC, seq DESC LIMIT 1) p"
    )
    return dict(cursor.fetchall())


def latest_times(cursor: Cursor) -> dict[str, str]:
    """instrument -> time of its last stored price, in contract form, where that is of the source that feeds the instrument."""
    cursor.execute(
        f"SELECT i.symbol, {_TIME.format('p.time')} FROM instruments i, LATERAL ("  # noqa: S608
        "  SELECT time, source FROM prices WHERE instrument = i.symbol AND source <> %s ORDER BY time DESC LIMIT 1) p"
        " WHERE p.source = i.source",
        (CLOSING,),
    )
    return dict(cursor.fetchall())


def table_exists(cursor: Cursor) -> bool:
    """Whether the migrations have made the table."""
    cursor.execute("SELECT to_regclass('prices') IS NOT NULL")
    return bool(scalar(cursor))


def _copy_line(row: PriceRow) -> str:
    volume = row.volume if row.volume is not None else "\\N"
    source = row.source.translate(_ESCAPES)
    return f"{row.instrument}\t{row.time}\t{row.received}\t{row.bid}\t{row.ask}\t{row.mid}\t{volume}\t{source}\t{row.epoch}\t{row.seq}\n"
