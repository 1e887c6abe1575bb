"""SQL of `prices`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from db.copy import copy_line, escaped, insert_staged, stage_rows, time_text_sql
from db.partitions import make_months
from db.postgres import Cursor, scalar

CLOSING = "hourly_job"  # source of the closing prices of candles

_COLUMNS = "instrument, time, received, bid, ask, mid, volume, source, epoch, seq"


@dataclass(frozen=True, slots=True)
class PriceRow:
    """One row as text: times in contract form, decimals with the digits of the source."""

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


def sources_without_candles(trade_venues: Sequence[str]) -> list[str]:
    """Sources whose prices make no candles: venues with candles of trades, and closing prices."""
    return [*trade_venues, CLOSING]


def insert_prices(cursor: Cursor, rows: Sequence[PriceRow], trade_venues: Sequence[str] = ()) -> int:
    """Insert the rows that are not stored yet and mark their minutes; returns their number.

    Prices of `trade_venues` mark no minute, because candles are made from the trades of these
    venues. Missing monthly partitions are created.
    """
    make_months(cursor, "prices", {row.time[:7] for row in rows})
    staging = stage_rows(cursor, "prices", _COLUMNS, map(_line, rows))
    inserted = insert_staged(cursor, "prices", _COLUMNS)
    if inserted:
        cursor.execute(
            f"INSERT INTO candle_marks SELECT DISTINCT instrument, date_trunc('minute', time) FROM {staging} WHERE source <> ALL (%s)",  # noqa: S608
            (sources_without_candles(trade_venues),),
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
    """instrument -> time of its last stored price, in contract form.

    An instrument is left out if its last price comes from another source than its own. Closing
    prices are ignored.
    """
    cursor.execute(
        f"SELECT i.symbol, {time_text_sql('p.time')} FROM instruments i, LATERAL ("  # noqa: S608
        "  SELECT time, source FROM prices WHERE instrument = i.symbol AND source <> %s ORDER BY time DESC LIMIT 1) p"
        " WHERE p.source = i.source",
        (CLOSING,),
    )
    return dict(cursor.fetchall())


def table_exists(cursor: Cursor) -> bool:
    """Whether the migrations have created the table."""
    cursor.execute("SELECT to_regclass('prices') IS NOT NULL")
    return bool(scalar(cursor))


def _line(row: PriceRow) -> str:
    return copy_line(
        row.instrument, row.time, row.received, row.bid, row.ask, row.mid, row.volume, escaped(row.source), row.epoch, row.seq
    )  # fmt: skip
