"""Real hourly candles of tests/data/fx_h1_2021 as arrays, for the tests, the benchmark and the plots of the analytics."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

import numpy as np

from db.timestamps import parse_time
from jobs.analytics.returns import Booleans, Floats

FOLDER = Path(__file__).parent / "data" / "fx_h1_2021"


@dataclass(frozen=True, slots=True)
class Hours:
    """Candles of all pairs on one grid; the arrays are (instruments, hours), NaN where a pair has no candle."""

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
        """The same with further candles missing; `missing` is (instruments, hours)."""
        return Hours(self.symbols, self.starts, *(np.where(missing, np.nan, prices) for prices in self.prices))

    def part(self, hours: slice) -> Hours:
        """Some of the hours."""
        return Hours(self.symbols, self.starts[hours], *(prices[:, hours] for prices in self.prices))


@cache
def load() -> Hours:
    """All ten pairs, mid prices, as recorded."""
    files = sorted(FOLDER.glob("*_H1.csv.gz"))
    tables = [_read(file) for file in files]
    starts = sorted(set().union(*tables))
    prices = np.array([[table.get(start, (np.nan,) * 4) for start in starts] for table in tables])
    return Hours(
        tuple(file.name.removesuffix("_H1.csv.gz") for file in files),
        tuple(parse_time(start) for start in starts),
        *(np.ascontiguousarray(prices[:, :, column]) for column in range(4)),
    )


def _read(file: Path) -> dict[str, tuple[float, ...]]:
    with gzip.open(file, "rt", newline="") as lines:
        return {row["time"]: tuple(float(row[f"mid_{name}"]) for name in "ohlc") for row in csv.DictReader(lines)}
