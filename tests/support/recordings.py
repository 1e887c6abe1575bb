"""Recorded market data: hourly candles of tests/data/fx_h1_2021, and files for the backfill."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np

from db.candles import CandleRow, Ohlc
from db.timestamps import format_time, parse_time
from jobs.analytics.returns import Booleans, Floats
from jobs.backfill.recordings import Row, open_recording, read

HOUR = timedelta(hours=1)
NOW = datetime(2025, 11, 18, tzinfo=UTC)  # when recordings are read
CALENDARS = dict.fromkeys(["EUR_USD", "AUD_JPY", "USD_JPY", "GBP_CHF", "EUR_CHF"], "fx") | {"ETHUSDT": "crypto", "AAPL": "equity"}
FOLDER = Path(__file__).parents[1] / "data" / "fx_h1_2021"


@dataclass(frozen=True, slots=True)
class Hours:
    """Candles of all pairs on one grid: arrays (instruments, hours), NaN without a candle."""

    symbols: tuple[str, ...]
    starts: tuple[datetime, ...]
    opens: Floats
    highs: Floats
    lows: Floats
    closes: Floats

    @property
    def prices(self) -> tuple[Floats, Floats, Floats, Floats]:
        return self.opens, self.highs, self.lows, self.closes

    def without(self, missing: Booleans) -> Hours:
        """Return a copy with further candles missing; `missing` is (instruments, hours)."""
        return Hours(self.symbols, self.starts, *(np.where(missing, np.nan, prices) for prices in self.prices))

    def part(self, hours: slice) -> Hours:
        """Return a part of the hours."""
        return Hours(self.symbols, self.starts[hours], *(prices[:, hours] for prices in self.prices))


@cache
def load() -> Hours:
    """Return the mid prices of all ten pairs, as recorded."""
    files = sorted(FOLDER.glob("*_H1.csv.gz"))
    tables = [_mid_prices(file) for file in files]
    starts = sorted(set().union(*tables))
    prices = np.array([[table.get(start, (np.nan,) * 4) for start in starts] for table in tables])
    return Hours(
        tuple(file.name.removesuffix("_H1.csv.gz") for file in files),
        tuple(parse_time(start) for start in starts),
        *(np.ascontiguousarray(prices[:, :, column]) for column in range(4)),
    )


def _mid_prices(file: Path) -> dict[str, tuple[float, ...]]:
    with gzip.open(file, "rt", newline="") as lines:
        return {row["time"]: tuple(float(row[f"mid_{name}"]) for name in "ohlc") for row in csv.DictReader(lines)}


def recorded(symbols: Iterable[str], start: datetime, end: datetime) -> list[CandleRow]:
    """Return the candles that begin at `start` or later and end by `end`, digits as recorded."""
    return [row for symbol in symbols for row in _rows(symbol) if start <= parse_time(row.start_time) < end]


def _rows(symbol: str) -> list[CandleRow]:
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


def read_all(file: Path, *, after: int = 0) -> tuple[list[tuple[int, Row]], list[tuple[str, str]]]:
    """Return the records of a file and its invalid items, both with their places."""
    invalid: list[tuple[str, str]] = []
    recording = open_recording(file, CALENDARS, now=NOW, strict=False)
    return list(read(recording, CALENDARS, lambda place, error: invalid.append((place, str(error))), now=NOW, after=after)), invalid


def written(folder: Path, name: str, text: str) -> Path:
    """Write a file and return its path."""
    file = folder / name
    file.write_text(text)
    return file
