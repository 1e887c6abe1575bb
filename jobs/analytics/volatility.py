"""Six estimators of volatility over rolling windows: arrays in, arrays out, vectorised over
instruments and windows.

Rows of candles are the instrument's trading time. A missing candle while the market was open is a
column of NaN; hours in which the market is closed have no column (`jobs/figures/hours.py` makes
such a grid). docs/analytics.md compares the estimators.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from jobs.analytics.candles import Candles, Tally, Windows
from jobs.analytics.returns import Booleans, Counts, Floats, log_returns
from jobs.analytics.rolling import rolling_squares, rolling_sum

DECAY = 0.94  # λ of RiskMetrics
ALERT_HOURS = 24
_BLOCK = 3 << 14  # elements processed at once, which fit into the processor's cache


class Volatility(NamedTuple):
    """Of each window, in the column of its last candle; both arrays (instruments, candles)."""

    volatility: Floats  # standard deviation per period; NaN: not available
    observations: Counts  # number in the window; shared among estimators, read-only


OhlcArrays = tuple[Floats, Floats, Floats, Floats]  # open, high, low, close; each (instruments, candles), NaN if missing


class Estimator(Protocol):
    """Candles in windows -> the volatility of each, in the given array or in a new one."""

    def __call__(self, windows: Windows, into: Floats | None = None) -> Volatility: ...


def close_to_close(windows: Windows, into: Floats | None = None) -> Volatility:
    """Sample standard deviation of log returns from close to close: sqrt(Σ(r - r̄)² / (n - 1))."""
    variance = _squares(windows, windows.candles.change)
    variance *= windows.steps.share_less_one
    return _root(windows.steps, variance, into)


def parkinson(windows: Windows, into: Floats | None = None) -> Volatility:
    """From the range: σ² = mean of ln(H/L)² / (4 ln 2).

    M. Parkinson, "The extreme value method for estimating the variance of the rate of return",
    Journal of Business 53 (1980), 61-65.
    """
    variance = rolling_sum(windows.squared_range, windows.size)
    variance *= windows.ranges.share / (4 * math.log(2))
    return _root(windows.ranges, variance, into)


def garman_klass(windows: Windows, into: Floats | None = None) -> Volatility:
    """From range and body: σ² = mean of ½ ln(H/L)² - (2 ln 2 - 1) ln(C/O)².

    M. B. Garman and M. J. Klass, "On the estimation of security price volatilities from historical
    data", Journal of Business 53 (1980), 67-78: their practical estimator (σ̂₅²).
    """
    squares = windows.squared_range * 0.5
    body = windows.candles.close * windows.candles.close
    body *= 2 * math.log(2) - 1
    squares -= body
    return _root(windows.ranges, _mean(windows, squares, windows.ranges), into)


def rogers_satchell(windows: Windows, into: Floats | None = None) -> Volatility:
    """Unbiased by drift: σ² = mean of ln(H/C) ln(H/O) + ln(L/C) ln(L/O).

    L. C. G. Rogers and S. E. Satchell, "Estimating variance from high, low and closing prices",
    Annals of Applied Probability 1 (1991), 504-512.
    """
    return _root(windows.ranges, _mean(windows, windows.rogers_satchell, windows.ranges), into)


def yang_zhang(windows: Windows, into: Floats | None = None) -> Volatility:
    """Unbiased by drift, with opening jumps: σ² = σ_jump² + k σ_body² + (1 - k) σ_RS².

    k = 0.34 / (1.34 + (n + 1) / (n - 1)). σ_jump² and σ_body² are sample variances of ln(O / C
    before) and ln(C/O), σ_RS² is that of `rogers_satchell`, all over the n candles with a
    predecessor.

    D. Yang and Q. Zhang, "Drift-independent volatility estimation based on high, low, open, and
    close prices", Journal of Business 73 (2000), 477-491.
    """
    candles, less_one = windows.candles, windows.steps.share_less_one
    ranges, bodies = windows.rogers_satchell.copy(), candles.close.copy()
    alone = ~candles.follows
    for values in (ranges, bodies):
        np.copyto(values, 0.0, where=alone)
    share = 0.34 / (2.34 + 2 * less_one)  # (n + 1) / (n - 1) = 1 + 2 / (n - 1)
    variance = _squares(windows, bodies)
    variance *= share
    variance += _squares(windows, candles.jump)
    variance *= less_one
    drift_free = _mean(windows, ranges, windows.steps)
    drift_free *= 1.0 - share
    variance += drift_free
    return _root(windows.steps, variance, into)


def ewma(windows: Windows, into: Floats | None = None) -> Volatility:
    """Exponentially weighted, without a mean: σ² = Σ λ^age r² / Σ λ^age over the window's returns,
    λ = 0.94.

    The window bounds the sums, so two runs with histories of different length agree. 75 periods
    hold 99 % of the weight of an endless history. A missing return is left out of both sums.

    J. P. Morgan/Reuters, "RiskMetrics - Technical Document" (4th edition 1996), 5.2.
    """
    follows = windows.candles.follows
    if (follows == follows[:1]).all():
        follows = follows[:1]
    weights = rolling_sum(follows.astype(np.float64), windows.size, DECAY)
    variance = rolling_sum(windows.candles.change**2, windows.size, DECAY)
    variance *= 1.0 / np.where(weights > 0, weights, 1.0)
    return _root(windows.steps, variance, into)


ESTIMATORS: dict[str, Estimator] = {
    "close_to_close": close_to_close,
    "parkinson": parkinson,
    "garman_klass": garman_klass,
    "rogers_satchell": rogers_satchell,
    "yang_zhang": yang_zhang,
    "ewma": ewma,
}
OF_RANGES = frozenset({"parkinson", "garman_klass", "rogers_satchell"})  # observe single candles; the others, steps between two


def estimate(
    prices: OhlcArrays, window: int, minimum: int | None = None, breaks: Booleans | None = None, names: Sequence[str] = tuple(ESTIMATORS)
) -> dict[str, Volatility]:
    """Several estimators over the same candles, by name.

    `prices` are open, high, low and close as for `Candles.of`. `window`, `minimum`, `breaks` and
    exceptions are those of `Candles.of` and `Candles.windows`. The numbers equal those of single
    estimators. It is faster, because a few instruments at a time go through all estimators while
    the processor's cache holds their candles.
    """
    shape = prices[0].shape
    volatility, ranges, steps = np.empty((len(names), *shape)), np.empty(shape, np.int32), np.empty(shape, np.int32)
    results = {name: Volatility(values, ranges if name in OF_RANGES else steps) for name, values in zip(names, volatility, strict=True)}
    apart = None if breaks is None else np.broadcast_to(breaks, shape)
    step = max(1, _BLOCK // max(1, shape[-1]))
    for first in range(0, max(1, shape[0]), step):
        rows = slice(first, first + step)
        opens, highs, lows, closes = (part[rows] for part in prices)
        candles = Candles.of(opens, highs, lows, closes, None if apart is None else apart[rows])
        windows = candles.windows(window, minimum)
        ranges[rows], steps[rows] = windows.ranges.counts, windows.steps.counts
        for name in names:
            ESTIMATORS[name](windows, results[name].volatility[rows])
    return results


def annualised(volatility: Floats, periods_per_year: float | Floats) -> Floats:
    """Volatility per year from that per period: times sqrt(`periods_per_year`), a number or
    (instruments, 1).
    """
    return np.asarray(volatility * np.sqrt(periods_per_year))


def alert_volatility(closes: Floats, minimum: int = 20, breaks: Booleans | None = None) -> Floats:
    """Volatility for alerts: sample standard deviation of the last 24 hourly log returns, times
    sqrt(24).

    `closes` is (instruments, hours), of which the last 25 are used, oldest first; NaN and not
    positive values are missing. The result, (instruments,), is NaN if there are fewer than
    `minimum` (at least 2) returns. `breaks` is as in `log_returns`.
    """
    if minimum < 2:
        raise ValueError("a standard deviation takes two returns at least")
    returns = log_returns(closes, breaks)[:, 1:][:, -ALERT_HOURS:]
    present = ~np.isnan(returns)
    counts = present.sum(axis=1)
    means = np.where(present, returns, 0.0).sum(axis=1) / np.maximum(counts, 1)
    squares = np.where(present, returns - means[:, None], 0.0) ** 2
    variance = squares.sum(axis=1) / np.maximum(counts - 1, 1)
    return np.where(counts >= minimum, np.sqrt(variance * ALERT_HOURS), np.nan)


def _mean(windows: Windows, values: Floats, tally: Tally) -> Floats:
    total = rolling_sum(values, windows.size)
    total *= tally.share
    return np.maximum(total, 0.0, out=total)  # a sum of products of rounded logarithms may miss 0 by 1e-33


def _squares(windows: Windows, values: Floats) -> Floats:
    return rolling_squares(values, windows.candles.follows, windows.steps.share, windows.size)


def _root(tally: Tally, variance: Floats, into: Floats | None) -> Volatility:
    with np.errstate(invalid="ignore"):  # before the first full window
        volatility = np.sqrt(variance, out=into)
    if len(tally.lacking) == 1:
        volatility[:, tally.lacking[0]] = np.nan
    elif tally.lacking.any():
        np.copyto(volatility, np.nan, where=tally.lacking)
    return Volatility(volatility, tally.counts)
