"""What the hourly and the daily job should have stored, worked out with pandas from the candles alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from db.candles import CandleRow
from db.timestamps import parse_time

HOUR = timedelta(hours=1)
FX_YEAR = 120 * 365 / 7  # hours
LEAST = 20  # of 24
Key = tuple[str, str]  # symbol and estimator
Estimate = tuple[float, float, int]  # an hour's, a year's, observations


def frames(rows: Iterable[CandleRow]) -> dict[str, pd.DataFrame]:
    """symbol -> open, high, low and close by start."""
    found: dict[str, dict[datetime, tuple[float, ...]]] = {}
    for row in rows:
        found.setdefault(row.symbol, {})[parse_time(row.start_time)] = tuple(map(float, row.mid))
    return {symbol: pd.DataFrame.from_dict(hours, orient="index", columns=list("ohlc")).sort_index() for symbol, hours in found.items()}


def fx_volatility(rows: Iterable[CandleRow], as_of: datetime) -> dict[Key, Estimate]:
    """Every estimate of FX instruments that is available of the 24 trading hours that end at `as_of`."""
    tables = {symbol: table[(table.index >= as_of - timedelta(days=7)) & (table.index < as_of)] for symbol, table in frames(rows).items()}
    grid = sorted(set().union(*(table.index for table in tables.values())))[-25:]
    if not grid or grid[-1] != as_of - HOUR:
        return {}
    found = {}
    for symbol, table in tables.items():
        if len(table):
            for estimator, (variance, count) in _variances(table.reindex(grid)).items():
                if count >= LEAST:
                    a_day = 24 if estimator == "alert" else 1
                    found[symbol, estimator] = (math.sqrt(variance), math.sqrt(variance * FX_YEAR / a_day), count)
    return found


def _variances(table: pd.DataFrame) -> dict[str, tuple[float, int]]:
    before = table.c.shift().where(table.index.to_series().diff() == pd.Timedelta(HOUR))
    table = table.assign(change=np.log(table.c / before), jump=np.log(table.o / before)).iloc[-24:]
    steps, candles = table.dropna(), table.dropna(subset=["c"])
    n, m = len(steps), len(candles)
    k = 0.34 / (1.34 + (n + 1) / (n - 1)) if n > 1 else math.nan
    body = np.log(steps.c / steps.o)
    ages = pd.Series(range(len(table) - 1, -1, -1), table.index)[steps.index]
    weights = 0.94**ages
    return {
        "close_to_close": (steps.change.var(), n),
        "parkinson": ((np.log(candles.h / candles.l) ** 2).mean() / (4 * math.log(2)), m),
        "garman_klass": (
            (np.log(candles.h / candles.l) ** 2 / 2 - (2 * math.log(2) - 1) * np.log(candles.c / candles.o) ** 2).mean(),
            m,
        ),
        "rogers_satchell": (_rogers_satchell(candles).mean(), m),
        "yang_zhang": (steps.jump.var() + k * body.var() + (1 - k) * _rogers_satchell(steps).mean(), n),
        "ewma": ((weights * steps.change**2).sum() / weights.sum(), n),
        "alert": (steps.change.var() * 24, n),
    }


def _rogers_satchell(table: pd.DataFrame) -> pd.Series[float]:
    above = np.log(table.h / table.c) * np.log(table.h / table.o)
    return pd.Series(above + np.log(table.l / table.c) * np.log(table.l / table.o))


def hourly_returns(rows: Iterable[CandleRow], as_of: datetime) -> pd.DataFrame:
    """Log returns of the 30 days before `as_of`, by hour of the clock; a column for each symbol that has a candle in them."""
    clock = pd.date_range(as_of - timedelta(days=30), as_of, freq="h", inclusive="left")
    closes = pd.DataFrame({symbol: table.c.reindex(clock) for symbol, table in sorted(frames(rows).items())}).dropna(axis=1, how="all")
    return pd.DataFrame(np.log(closes / closes.shift()))
