"""Log returns, and the names of the arrays' types."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]
Counts = NDArray[np.int32]


def varies(returns: Floats) -> Booleans:
    """True for each instrument with at least 2 returns that are not all equal.

    `returns` is (instruments, periods); a value that is not finite is missing.
    """
    known = np.isfinite(returns)
    highest = np.where(known, returns, -np.inf).max(axis=1, initial=-np.inf)
    lowest = np.where(known, returns, np.inf).min(axis=1, initial=np.inf)
    return np.asarray(highest > lowest)


def log_returns(closes: Floats, breaks: Booleans | None = None) -> Floats:
    """Log returns between neighbouring candles: NaN if either close is missing, and in the first
    column.

    `closes` is (instruments, candles); NaN, infinite and not positive values are missing. `breaks`,
    (candles,) or (instruments, candles), is true if the return *into* that candle is not wanted
    (the first after a weekend). The result has the shape of `closes`. There is no return across a
    missing candle: it would be the return of two periods.
    """
    returns = np.full(closes.shape, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        present = (closes > 0) & (closes < np.inf)
        # Of the ratio, not as a difference of logarithms: those carry the rounding of the price's
        # size, 1e-15 for a price of 60,000.
        np.log(closes[:, 1:] / closes[:, :-1], out=returns[:, 1:], where=present[:, 1:] & present[:, :-1])
    if breaks is not None:
        returns[np.broadcast_to(breaks, returns.shape)] = np.nan
    return returns
