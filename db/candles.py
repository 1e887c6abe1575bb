"""SQL of `candles`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from db.partitions import make_months

Ohlc = tuple[str, str, str, str]
NO_OHLC = (None, None, None, None)

COLUMNS = (
    "symbol", "interval", "start_time", "end_time", "open", "high", "low", "close",
    "bid_open", "bid_high", "bid_low", "bid_close", "ask_open", "ask_high", "ask_low", "ask_close",
    "volume", "trades", "complete", "source",
)  # fmt: skip
_NAMES = ", ".join(COLUMNS)


@dataclass(frozen=True, slots=True)
class CandleRow:
    """One candle as text: times in contract form, prices with the source's own digits; `mid`, `bid`, `ask` are open, high, low, close.

    `volume` is what was traded or, where the source tells of quotes alone, how many they were; `trades` their number, where known.
    """

    symbol: str
    interval: str
    start_time: str
    end_time: str
    mid: Ohlc
    bid: Ohlc | None
    ask: Ohlc | None
    volume: str
    trades: int | None
    complete: bool
    source: str


def insert_candles(cursor: Any, rows: Sequence[CandleRow]) -> int:
    """Store candles; where one is there already, that of the higher rank wins, the newer among equals. How many were written.

    `rows` name each candle once. Makes the months they need.
    """
    make_months(cursor, "candles", {row.start_time[:7] for row in rows})
    cursor.execute("CREATE TEMP TABLE IF NOT EXISTS candles_staging (LIKE candles INCLUDING DEFAULTS) ON COMMIT DELETE ROWS")
    cursor.copy_expert(f"COPY candles_staging ({_NAMES}) FROM STDIN", io.StringIO("".join(map(_copy_line, rows))))
    written = upsert_candles(cursor, f"SELECT {_NAMES} FROM candles_staging")  # noqa: S608
    cursor.execute("TRUNCATE candles_staging")
    return written


def upsert_candles(cursor: Any, query: str, parameters: Sequence[Any] = ()) -> int:
    """Store what `query` gives, columns as `COLUMNS`, as `insert_candles` does; unchanged candles are not touched."""
    changed = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[3:])
    old = ", ".join(f"candles.{name}" for name in COLUMNS[3:])
    new = ", ".join(f"excluded.{name}" for name in COLUMNS[3:])
    cursor.execute(
        f"INSERT INTO candles ({_NAMES}) {query} ON CONFLICT (symbol, interval, start_time) DO UPDATE SET {changed}, updated = now() "
        f"WHERE candle_rank(excluded.source) >= candle_rank(candles.source) AND ({old}) IS DISTINCT FROM ({new})",
        parameters,
    )
    return int(cursor.rowcount)


def latest_ends(cursor: Any, source: str, interval: str) -> dict[str, str]:
    """symbol -> end, in contract form, of its last complete candle that `source` gave."""
    cursor.execute(
        """SELECT symbol, to_char(max(end_time) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') FROM candles """
        "WHERE source = %s AND interval = %s AND complete GROUP BY symbol",
        (source, interval),
    )
    return dict(cursor.fetchall())


def _copy_line(row: CandleRow) -> str:
    fields = (
        row.symbol, row.interval, row.start_time, row.end_time, *row.mid, *(row.bid or NO_OHLC), *(row.ask or NO_OHLC),
        row.volume, row.trades, row.complete, row.source,
    )  # fmt: skip
    return "\t".join("\\N" if field is None else str(field) for field in fields) + "\n"
