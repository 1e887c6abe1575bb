"""Candles for the estimators of volatility: cleaned, as logarithms, and counted over rolling
windows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jobs.analytics.returns import Booleans, Counts, Floats
from jobs.analytics.rolling import rolling_count

_SHARE = 0.8  # of a window's observations: the default minimum


@dataclass(frozen=True, slots=True)
class Candles:
    """Candles as logarithms of ratios of neighbouring prices; each array (instruments, candles), 0
    if missing.
    """

    change: Floats  # ln(close / close before)
    jump: Floats  # ln(open / close before)
    high: Floats  # ln(high / open)
    low: Floats  # ln(low / open)
    close: Floats  # ln(close / open)
    present: Booleans  # the candle exists
    follows: Booleans  # the candle before exists too, with no break between them

    @classmethod
    def of(cls, opens: Floats, highs: Floats, lows: Floats, closes: Floats, breaks: Booleans | None = None) -> Candles:
        """From prices, each array (instruments, candles), float64, NaN for a missing candle.

        A candle counts as missing if a price is missing, infinite or not positive, or if the prices
        contradict each other (high below low, open or close outside them). `breaks`, (candles,) or
        (instruments, candles), is true if the step *into* a candle is longer than one period (the
        first candle after a weekend). Raises `ValueError` if the shapes differ.
        """
        if not (opens.ndim == 2 and opens.shape == highs.shape == lows.shape == closes.shape):
            raise ValueError("open, high, low and close have to be arrays of one shape, (instruments, candles)")
        logs, known = np.empty((5, *opens.shape)), np.empty((2, *opens.shape), np.bool_)
        made = cls(logs[0], logs[1], logs[2], logs[3], logs[4], known[0], known[1])
        made._find(opens, highs, lows, closes, breaks)
        made._take_logarithms(opens, highs, lows, closes)
        return made

    def windows(self, window: int, minimum: int | None = None) -> Windows:
        """Every window of `window` candles; with fewer than `minimum` observations it is not
        available.

        The default of `minimum` is 80 %, at least 2. Raises `ValueError` unless 2 <= minimum <=
        window.
        """
        least = max(2, math.ceil(_SHARE * window)) if minimum is None else minimum
        if not 2 <= least <= window:
            raise ValueError(f"a window of {window} candles and a minimum of {least}: 2 <= minimum <= window is needed")
        if self.present.shape[1] < window:
            none = Tally.of(np.zeros(self.present.shape, np.int32), least)
            return Windows(self, window, none, none)
        counts = rolling_count(self.present, window), rolling_count(self.follows, window)
        return Windows(self, window, *(Tally.of(each, least) for each in counts))

    def _find(self, opens: Floats, highs: Floats, lows: Floats, closes: Floats, breaks: Booleans | None) -> None:
        present, follows = self.present, self.follows
        np.less_equal(lows, np.minimum(opens, closes), out=present)  # false if one of them is NaN
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
            before = closes.reshape(-1)[:-1]
            for logs, prices in ((self.change, closes), (self.jump, opens)):
                # Rows end to end, which is fastest; windows that span two rows are discarded.
                flat = logs.reshape(-1)
                np.log(np.divide(prices.reshape(-1)[1:], before, out=flat[1:]), out=flat[1:])
                logs[:, :1] = 0.0
        for known, parts in ((self.present, (self.high, self.low, self.close)), (self.follows, (self.change, self.jump))):
            missing = ~known
            if missing.any():
                for logs in parts:
                    np.copyto(logs, 0.0, where=missing)


@dataclass(frozen=True, slots=True)
class Tally:
    """Number of observations in each window.

    All arrays except `counts` are (1, candles) if all instruments have the same counts.
    """

    counts: Counts  # (instruments, candles); 0 before the first full window
    lacking: Booleans  # fewer than the minimum
    share: Floats  # 1 / n, at most 1
    share_less_one: Floats  # 1 / (n - 1), at most 1

    @classmethod
    def of(cls, counts: Counts, minimum: int) -> Tally:
        """From the counts."""
        some = counts[:1] if (counts == counts[:1]).all() else counts
        return cls(counts, some < minimum, 1.0 / np.maximum(some, 1), 1.0 / np.maximum(some - 1, 1))


@dataclass(frozen=True)
class Windows:
    """Candles, and the values about their windows that estimators share.

    A window stands in the column of its last candle.
    """

    candles: Candles
    size: int
    ranges: Tally  # of candles
    steps: Tally  # of candles that follow the one before: returns

    @cached_property
    def squared_range(self) -> Floats:
        """ln(high / low)² of each candle, not to be written to."""
        extent = self.candles.high - self.candles.low
        extent *= extent
        return extent

    @cached_property
    def rogers_satchell(self) -> Floats:
        """ln(high / close) ln(high / open) + ln(low / close) ln(low / open) of each candle, not to
        be written to.
        """
        above = self.candles.high - self.candles.close
        above *= self.candles.high
        below = self.candles.low - self.candles.close
        below *= self.candles.low
        above += below
        return above
