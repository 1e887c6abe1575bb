"""Sums and sums of squares over rolling windows, exact to the last digits and without a loop over
windows.

The usual method adds each entering value and subtracts each leaving one. After one large value the
rest of the series carries its rounding error, and a flat series does not give 0. Here a window is
composed of windows of 1, 2, 4, … candles, according to the binary digits of `window`. No sum is
ever subtracted from another, so no digits cancel. At most 2 log2(window) passes are needed.

In all functions, `values` is (instruments, candles), candles >= window, finite, 0 if missing,
C-contiguous. The result has the same shape; a window stands in the column of its last candle, and
columns before the first full window have no meaning. (Rows are processed end to end as one, which
is fastest; the windows without a meaning are those that span two rows.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np

from jobs.analytics.returns import Booleans, Counts, Floats

_DOUBTFUL = 1e-3  # a smaller difference, relative to its minuend, has lost three digits


def rolling_count(present: Booleans, window: int) -> Counts:
    """The number of true values in each window; 0 before the first full one."""
    counts = np.zeros(present.shape, np.int32)
    if present.all():
        counts[:, window - 1 :] = window
    else:
        total = np.cumsum(present, axis=1, dtype=np.int32)  # integers: exact
        counts[:, window - 1] = total[:, window - 1]
        np.subtract(total[:, window:], total[:, :-window], out=counts[:, window:])
    return counts


def rolling_sum(values: Floats, window: int, decay: float = 1.0) -> Floats:
    """Sum of each window, with weight `decay` to the power of a value's age (0 for the newest)."""

    def merge(older: Floats, newer: Floats, older_size: int, newer_size: int) -> Floats:
        first = older_size + newer_size - 1
        result = np.empty_like(newer)
        result[:first] = 0.0
        before, whole = older[older_size - 1 : newer.size - newer_size], result[first:]
        np.add(before if decay == 1.0 else np.multiply(before, decay**newer_size, out=whole), newer[first:], out=whole)
        return result

    return _doubled(values.reshape(-1), window, merge).reshape(values.shape)


def rolling_squares(values: Floats, present: Booleans, share: Floats, window: int) -> Floats:
    """Sum of the squared deviations from each window's own mean, over the present values.

    `share` is 1 / n of each window (n > 0). The mean of returns is small compared with their
    spread; then Σx² - (Σx)²/n keeps all its digits. Otherwise the row is computed again by merging
    neighbouring windows, in which no mean square is subtracted from another.

    T. F. Chan, G. H. Golub and R. J. LeVeque, "Updating formulae and a pairwise algorithm for
    computing sample variances" (1979).
    """
    squares = rolling_sum(values * values, window)
    rest = rolling_sum(values, window)
    rest *= rest
    rest *= share
    np.subtract(squares, rest, out=rest)
    squares *= _DOUBTFUL
    doubtful = (rest < squares)[:, window - 1 :].any(axis=1)
    if doubtful.any():
        some = values[doubtful]
        single = _Spread(present[doubtful].reshape(-1).astype(np.float64), some.reshape(-1), np.zeros(some.size))
        rest[doubtful] = _doubled(single, window, _merge_spreads).squares.reshape(some.shape)
    return rest


class _Spread(NamedTuple):
    """Of each window."""

    number: Floats
    total: Floats
    squares: Floats  # of deviations from the window's mean


def _merge_spreads(older: _Spread, newer: _Spread, older_size: int, newer_size: int) -> _Spread:
    first = older_size + newer_size - 1
    number1, total1, squares1 = (values[older_size - 1 : values.size - newer_size] for values in older)
    number2, total2, squares2 = (values[first:] for values in newer)
    result = _Spread(*(np.zeros_like(values) for values in newer))
    number, total, squares = (values[first:] for values in result)
    np.add(number1, number2, out=number)
    np.add(total1, total2, out=total)
    gap = total2 * number1
    gap -= total1 * number2
    gap *= gap  # 0 if either window is empty, because the divisor would be 0
    gap /= np.maximum(number1 * number2 * number, 1.0)
    gap += squares1
    np.add(gap, squares2, out=squares)
    return result


# Values of every window of one size, by the window's end, rows end to end.
Known = TypeVar("Known", Floats, _Spread)


def _doubled(single: Known, window: int, merge: Callable[[Known, Known, int, int], Known]) -> Known:
    """From windows of one candle to windows of `window` candles.

    `merge(older, newer, older_size, newer_size)` joins every window of `newer` with the window of
    `older` that ends at its beginning. The first whole one ends at older_size + newer_size - 1;
    earlier columns have no meaning.
    """
    powers, size = single, 1
    whole, whole_size = single, 0
    while True:
        if window & size:
            whole = merge(whole, powers, whole_size, size) if whole_size else powers
            whole_size += size
        if whole_size == window:
            return whole
        powers, size = merge(powers, powers, size, size), 2 * size
