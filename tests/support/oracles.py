"""Expected values: candles from the rows, volatility and returns from the candles.

The code is independent of the roll-up and of the jobs, and as simple as possible.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from db.candles import CandleRow
from db.intervals import INTERVALS, candle_end, candle_start
from db.messages import Trade
from db.postgres import Store
from db.prices import PriceRow
from db.timestamps import parse_time

CandleKey = tuple[str, str, datetime]  # symbol, interval, start
Side = tuple[Decimal, Decimal, Decimal, Decimal] | None
HOUR = timedelta(hours=1)
FX_HOURS_PER_YEAR = 120 * 365 / 7
MIN_OBSERVATIONS = 20  # of 24
EstimateKey = tuple[str, str]  # symbol, estimator
Estimate = tuple[float, float, int]  # per hour, per year, observations


@dataclass(frozen=True, slots=True)
class Candle:
    """The compared part of a stored candle; numbers are compared as numbers."""

    end: datetime
    mid: Side
    bid: Side
    ask: Side
    volume: Decimal
    trades: int | None
    complete: bool
    source: str


def expected_candles(
    prices: Iterable[PriceRow], trades: Iterable[Trade], calendars: Mapping[str, str], ended: datetime
) -> dict[CandleKey, Candle]:
    """Return every candle of these rows. Each interval is computed from the rows alone."""
    of_trades: dict[CandleKey, list[Trade]] = defaultdict(list)
    for trade in sorted(trades, key=lambda each: (each.time, each.trade_id)):
        of_trades[_minute(trade.symbol, trade.time)].append(trade)
    of_ticks: dict[CandleKey, list[PriceRow]] = defaultdict(list)
    for row in sorted(prices, key=lambda each: (each.time, each.epoch, each.seq)):
        if row.source != "binance" and _minute(row.instrument, row.time) not in of_trades:
            of_ticks[_minute(row.instrument, row.time)].append(row)
    minutes = {key: _of_trades(rows) for key, rows in of_trades.items()} | {key: _of_ticks(rows) for key, rows in of_ticks.items()}
    found: dict[CandleKey, list[_Part]] = defaultdict(list)
    for (symbol, _, minute), part in sorted(minutes.items(), key=lambda item: item[0][2]):
        for interval in INTERVALS:
            found[symbol, interval, candle_start(calendars[symbol], interval, minute)].append(part)
    return {key: _candle(calendars[key[0]], key, parts, ended) for key, parts in found.items()}


def stored_candles(store: Store) -> dict[CandleKey, Candle]:
    """Return every candle of the store."""
    with store.transaction() as cursor:
        cursor.execute(
            "SELECT symbol, interval, start_time, end_time, open, high, low, close, bid_open, bid_high, bid_low, bid_close,"
            " ask_open, ask_high, ask_low, ask_close, volume, trades, complete, source FROM candles"
        )
        return {
            (row[0], row[1], row[2]): Candle(
                row[3], _side(row[4:8]), _side(row[8:12]), _side(row[12:16]), Decimal(row[16]), row[17], row[18], row[19]
            )
            for row in cursor.fetchall()
        }


@dataclass(frozen=True, slots=True)
class _Part:
    """The prices of one minute, in order; only ticks have `bid` and `ask`."""

    mid: list[Decimal]
    bid: list[Decimal] | None
    ask: list[Decimal] | None
    volume: Decimal
    count: int
    source: str


def _minute(symbol: str, time: str) -> CandleKey:
    return symbol, "1m", candle_start("", "1m", parse_time(time))


def _of_trades(rows: list[Trade]) -> _Part:
    return _Part(
        [Decimal(row.price) for row in rows], None, None, sum((Decimal(row.quantity) for row in rows), Decimal()), len(rows), "trades"
    )


def _of_ticks(rows: list[PriceRow]) -> _Part:
    volumes = [Decimal(row.volume) for row in rows if row.volume is not None]
    volume = sum(volumes, Decimal()) if volumes else Decimal(len(rows))
    mid, bid, ask = ([Decimal(getattr(row, name)) for row in rows] for name in ("mid", "bid", "ask"))
    return _Part(mid, bid, ask, volume, len(rows), "ticks")


def _candle(calendar: str, key: CandleKey, parts: list[_Part], ended: datetime) -> Candle:
    end = candle_end(calendar, key[1], key[2])
    quoted = calendar == "fx" and all(part.bid for part in parts)
    return Candle(
        end=end,
        mid=_ohlc([price for part in parts for price in part.mid]),
        bid=_ohlc([price for part in parts for price in part.bid or []]) if quoted else None,
        ask=_ohlc([price for part in parts for price in part.ask or []]) if quoted else None,
        volume=sum((part.volume for part in parts), Decimal()),
        trades=sum(part.count for part in parts),
        complete=end <= ended,
        source="trades" if any(part.source == "trades" for part in parts) else "ticks",
    )


def _ohlc(prices: list[Decimal]) -> Side:
    return prices[0], max(prices), min(prices), prices[-1]


def _side(columns: tuple[Any, ...]) -> Side:
    if None in columns:
        assert set(columns) == {None}
        return None
    opened, high, low, close = (Decimal(text) for text in columns)
    return opened, high, low, close


def frames(rows: Iterable[CandleRow]) -> dict[str, pd.DataFrame]:
    """Return symbol -> open, high, low and close by start."""
    found: dict[str, dict[datetime, tuple[float, ...]]] = {}
    for row in rows:
        found.setdefault(row.symbol, {})[parse_time(row.start_time)] = tuple(map(float, row.mid))
    return {symbol: pd.DataFrame.from_dict(hours, orient="index", columns=list("ohlc")).sort_index() for symbol, hours in found.items()}


def fx_volatility(rows: Iterable[CandleRow], as_of: datetime) -> dict[EstimateKey, Estimate]:
    """Return each available estimate of FX instruments over the 24 trading hours before `as_of`."""
    tables = {symbol: table[(table.index >= as_of - timedelta(days=7)) & (table.index < as_of)] for symbol, table in frames(rows).items()}
    grid = sorted(set().union(*(table.index for table in tables.values())))[-25:]
    if not grid or grid[-1] != as_of - HOUR:
        return {}
    found = {}
    for symbol, table in tables.items():
        if len(table):
            for estimator, (variance, count) in _variances(table.reindex(grid)).items():
                if count >= MIN_OBSERVATIONS:
                    per_day = 24 if estimator == "alert" else 1
                    found[symbol, estimator] = (math.sqrt(variance), math.sqrt(variance * FX_HOURS_PER_YEAR / per_day), count)
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
    """Return the hourly log returns of the 30 days before `as_of`.

    Each symbol with a candle in this time has a column.
    """
    clock = pd.date_range(as_of - timedelta(days=30), as_of, freq="h", inclusive="left")
    closes = pd.DataFrame({symbol: table.c.reindex(clock) for symbol, table in sorted(frames(rows).items())}).dropna(axis=1, how="all")
    return pd.DataFrame(np.log(closes / closes.shift()))
