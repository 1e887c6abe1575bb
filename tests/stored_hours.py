"""Real hourly candles of tests/data/fx_h1_2021 in a store, for the tests of the jobs; and what the jobs made of them."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from db.candles import CandleRow, Ohlc, insert_candles
from db.postgres import Store
from db.timestamps import format_time, parse_time
from tests.fx_hours import FOLDER

HOUR = timedelta(hours=1)


def recorded(symbols: Iterable[str], start: datetime, end: datetime) -> list[CandleRow]:
    """The recorded candles that begin at `start` or later and end by `end`, digits as recorded."""
    return [row for symbol in symbols for row in _read(symbol) if start <= parse_time(row.start_time) < end]


def put(store: Store, rows: Sequence[CandleRow]) -> None:
    """Store candles, with nothing left to be rolled up: nobody is there to do it."""
    with store.transaction() as cursor:
        insert_candles(cursor, rows)
        cursor.execute("TRUNCATE candle_marks")


def select(store: Store, statement: str, *parameters: object) -> list[Any]:
    """The rows of a query."""
    with store.transaction() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())


def candle(symbol: str, start: datetime, mid: Ohlc, *, source: str = "ticks") -> CandleRow:
    """An hour as a test wants it; bid and ask are not known."""
    end = format_time(start + HOUR)
    return CandleRow(symbol, "1h", format_time(start), end, mid, None, None, "1", 1, complete=True, source=source)


def _read(symbol: str) -> list[CandleRow]:
    with gzip.open(FOLDER / f"{symbol}_H1.csv.gz", "rt", newline="") as lines:
        return [_row(symbol, line) for line in csv.DictReader(lines)]


def _row(symbol: str, line: dict[str, str]) -> CandleRow:
    start = parse_time(line["time"])
    mid, bid, ask = (_ohlc(line, side) for side in ("mid", "bid", "ask"))
    number = int(line["volume"])
    end = format_time(start + HOUR)
    return CandleRow(symbol, "1h", format_time(start), end, mid, bid, ask, str(number), number, complete=True, source="oanda")


def _ohlc(line: dict[str, str], side: str) -> Ohlc:
    return line[f"{side}_o"], line[f"{side}_h"], line[f"{side}_l"], line[f"{side}_c"]
