"""Candles as the estimators of volatility take them: cleaned, as logarithms, and counted over rolling windows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from jobs.analytics.returns import Booleans, Counts, Floats
from jobs.analytics.rolling import rolling_count

_SHARE = 0.8  # of a window's observations, unless the caller says how many are the least


@dataclass(frozen=True, slots=True)
class Candles:
    """Candles as logarithms of ratios of neighbouring prices; each array (instruments, candles), 0 where missing."""

    change: Floats  # ln(close / close before)
    jump: Floats  # ln(open / close before)
    high: Floats  # ln(high / open)
    low: Floats  # ln(low / open)
    close: Floats  # ln(close / open)
    present: Booleans  # the candle is there
    follows: Booleans  # and so is the one before, with no break between them

    @classmethod
    def of(cls, opens: Floats, highs: Floats, lows: Floats, closes: Floats, breaks: Booleans | None = None) -> Candles:
        """From prices, each array (instruments, candles), float64, NaN where a candle is missing.

        A candle counts as missing wholly where a price is missing, infinite or not positive, and where the prices contradict each other
        (high below low, open or close outside them). `breaks`, (candles,) or (instruments, candles), is true where the step *into* a
        candle is not to be taken as one period's (`periods.breaks`: the first candle after a weekend). Raises `ValueError` where the
        shapes differ.
        """
        if not (opens.ndim == 2 and opens.shape == highs.shape == lows.shape == closes.shape):
            raise ValueError("open, high, low and close have to be arrays of one shape, (instruments, candles)")
        logs, known = np.empty((5, *opens.shape)), np.empty((2, *opens.shape), np.bool_)
        made = cls(logs[0], logs[1], logs[2], logs[3], logs[4], known[0], known[1])
        made._find(opens, highs, lows, closes, breaks)
        made._take_logarithms(opens, highs, lows, closes)
        return made

    def windows(self, window: int, minimum: int | None = None) -> Windows:
        """Every window of `window` candles. Fewer than `minimum` observations in one (default: 80 %, at least 2) make it not available.

        Raises `ValueError` unless 2 <= minimum <= window.
        """
        least = max(2, math.ceil(_SHARE * window)) if minimum is None else minimum
        if not 2 <= least <= window:
            raise ValueError(f"a window of {window} candles and a minimum of {least}: 2 <= minimum <= window is needed")
        if self.present.shape[1] < window:
            none = np.zeros(self.present.shape, np.int32)
            return Windows(self, window, least, none, none)
        return Windows(self, window, least, rolling_count(self.present, window), rolling_count(self.follows, window))

    def _find(self, opens: Floats, highs: Floats, lows: Floats, closes: Floats, breaks: Booleans | None) -> None:
        present, follows = self.present, self.follows
        np.less_equal(lows, np.minimum(opens, closes), out=present)  # false where one of them is NaN
        present &= np.maximum(opens, closes) <= highs
        present &= lows > 0
        present &= highs < np.inf
        follows[:, :1] = False
        np.logical_and(present[:, 1:], present[:, :-1], out=follows[:, 1:])
        if breaks is not None:
            follows &= ~breaks

    def _take_logarithms(self, opens: Floats, highs: Floats, lows: Floats, closes: Floats) -> None:
        with np.errstate(all="ignore"):
            for logs, prices in ((self.high, highs), (self.low, lows), (self.close, closes)):
                np.log(np.divide(prices, opens, out=logs), out=logs)
            for logs, prices in ((self.change, closes), (self.jump, opens)):
                logs[:, :1] = 0.0
                np.log(np.divide(prices[:, 1:], closes[:, :-1], out=logs[:, 1:]), out=logs[:, 1:])
        for known, parts in ((self.present, (self.high, self.low, self.close)), (self.follows, (self.change, self.jump))):
            if not known.all():
                for logs in parts:
                    logs[~known] = 0.0


@dataclass(frozen=True, slots=True)
class Windows:
    """Candles, and what every estimator has to know of the windows over them; counts are (instruments, candles).

    A window stands in the column of its last candle; before the first full one all is 0.
    """

    candles: Candles
    size: int
    minimum: int
    ranges: Counts  # candles in the window
    steps: Counts  # of them, those that follow the one before: returns
