"""The data of the analytics benchmark, and the same computations in usual pandas and numpy."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from jobs.analytics.returns import Floats
from jobs.analytics.volatility import OhlcArrays

SEED = 20211103
WINDOW, MINIMUM = 24, 20


def returns_with_holes(instruments: int, periods: int, missing: float) -> Floats:
    """Return (instruments, periods) returns with a common factor and fat tails; fixed seed."""
    generator = np.random.default_rng(SEED)
    common = generator.standard_t(4, periods)
    returns = 1e-3 * (generator.uniform(-1, 1, (instruments, 1)) * common + generator.standard_t(4, (instruments, periods)))
    returns[generator.random(returns.shape) < missing] = np.nan
    return returns


def candles_with_holes(instruments: int, candles: int, missing: float) -> OhlcArrays:
    """Return candles of random walks from a fixed seed; each array is (instruments, candles)."""
    generator = np.random.default_rng(SEED)
    shape = instruments, candles
    closes = 1.1 * np.exp(np.cumsum(1e-3 * generator.standard_normal(shape), axis=1))
    opens = closes * np.exp(1e-3 * generator.standard_normal(shape))
    highs = np.maximum(opens, closes) * np.exp(5e-4 * np.abs(generator.standard_normal(shape)))
    lows = np.minimum(opens, closes) * np.exp(-5e-4 * np.abs(generator.standard_normal(shape)))
    holes = generator.random(shape) < missing
    opens, highs, lows, closes = (np.where(holes, np.nan, prices) for prices in (opens, highs, lows, closes))
    return opens, highs, lows, closes


def frames(prices: OhlcArrays) -> tuple[pd.DataFrame, ...]:
    """Return the candles in the layout of pandas: a row per candle, a column per instrument."""
    return tuple(pd.DataFrame(np.ascontiguousarray(part.T)) for part in prices)


def pandas_estimators(opens: pd.DataFrame, highs: pd.DataFrame, lows: pd.DataFrame, closes: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the six estimators with `rolling`; they share the logarithms.

    EWMA is pandas' own, over all periods before.
    """
    o, h, lo, c = (prices.apply(np.log, raw=True) for prices in (opens, highs, lows, closes))
    returns, jump, body, extent = c.diff(), o - c.shift(), c - o, (h - lo) ** 2
    satchell = (h - c) * (h - o) + (lo - c) * (lo - o)
    present = jump.notna()
    n = present.rolling(WINDOW).sum()
    k = 0.34 / (1.34 + (n + 1) / (n - 1))
    drift_free = (1 - k) * _rolling(satchell.where(present)).mean()
    return {
        "close_to_close": _rolling(returns).std(),
        "parkinson": (_rolling(extent).mean() / (4 * math.log(2))) ** 0.5,
        "garman_klass": _rolling(extent / 2 - (2 * math.log(2) - 1) * body**2).mean() ** 0.5,
        "rogers_satchell": _rolling(satchell).mean() ** 0.5,
        "yang_zhang": (_rolling(jump).var() + k * _rolling(body.where(present)).var() + drift_free) ** 0.5,
        "ewma": (returns**2).ewm(alpha=0.06).mean() ** 0.5,
    }


def _rolling(frame: pd.DataFrame) -> pd.api.typing.Rolling[pd.DataFrame]:
    return frame.rolling(WINDOW, min_periods=MINIMUM)
