"""Sums and sums of squares over rolling windows, right to the last digits and without a loop over windows.

The usual way adds what enters a window and subtracts what leaves it: after one large value the rest of the series carries its rounding
error, and a flat series does not come out as 0. Here a window is put together from windows of 1, 2, 4, … candles, as many as `window`
has binary digits. Nothing is ever subtracted from a sum, so nothing cancels, and it takes 2 log2(window) passes at most.

Everywhere: `values` is (instruments, candles), candles >= window, finite, 0 where missing, C-contiguous. The result has the same shape, a
window stands in the column of its last candle, and what stands before the first full window has no meaning. (Rows are worked on end to
end as one, which is fastest; the windows without a meaning are those that span two.)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jobs.analytics.returns import Booleans, Counts, Floats

# What is known of every window of a size, an array each; and how older and newer neighbours become one window, into the last argument.
State = tuple[Floats, ...]
Merge = Callable[[State, State, int, State], None]

_DOUBTFUL = 1e-3  # a difference this small, relative to what it is taken of, has lost three digits


def rolling_count(present: Booleans, window: int) -> Counts:
    """How many are true in each window; 0 before the first full one."""
    counts = np.zeros(present.shape, np.int32)
    if present.all():
        counts[:, window - 1 :] = window
    else:
        total = np.cumsum(present, axis=1, dtype=np.int32)  # integers: exact
        counts[:, window - 1] = total[:, window - 1]
        np.subtract(total[:, window:], total[:, :-window], out=counts[:, window:])
    return counts


def rolling_sum(values: Floats, window: int, decay: float = 1.0) -> Floats:
    """Sum of each window, where a value's weight is `decay` to the power of its age (0 for the newest)."""

    def weighted(older: State, newer: State, size: int, into: State) -> None:
        np.multiply(older[0], decay**size, out=into[0])
        np.add(into[0], newer[0], out=into[0])

    def plain(older: State, newer: State, _: int, into: State) -> None:
        np.add(older[0], newer[0], out=into[0])

    return _doubled((values,), window, plain if decay == 1.0 else weighted)[0]


def rolling_squares(values: Floats, present: Booleans, share: Floats, window: int) -> Floats:
    """Sum of the squared deviations from each window's own mean, over what is present; `share` is 1 / n of each window (n > 0).

    The mean of returns is small beside their spread, and then Σx² - (Σx)²/n has all its digits. Where it has not, the row is done again by
    merging neighbouring windows after T. F. Chan, G. H. Golub and R. J. LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances" (1979), where no mean square is subtracted from another.
    """
    squares = rolling_sum(values * values, window)
    rest = rolling_sum(values, window)
    rest *= rest
    rest *= share
    np.subtract(squares, rest, out=rest)
    squares *= _DOUBTFUL
    doubtful = (rest < squares)[:, window - 1 :].any(axis=1)
    if doubtful.any():
        some = present[doubtful]
        rest[doubtful] = _doubled((some.astype(np.float64), values[doubtful], np.zeros(some.shape)), window, _chan)[2]
    return rest


def _chan(older: State, newer: State, _: int, into: State) -> None:
    """(count, sum, squared deviations) of two windows as one."""
    (count1, sum1, squares1), (count2, sum2, squares2), (count, total, squares) = older, newer, into
    np.add(count1, count2, out=count)
    np.add(sum1, sum2, out=total)
    gap = sum2 * count1
    gap -= sum1 * count2
    gap *= gap  # 0 where either window is empty, and there the divisor would be 0
    gap /= np.maximum(count1 * count2 * count, 1.0)
    gap += squares1
    np.add(gap, squares2, out=squares)


def _doubled(single: State, window: int, merge: Merge) -> State:
    """From windows of one candle to windows of `window` candles."""
    shape = single[0].shape
    powers, size = tuple(values.reshape(-1) for values in single), 1
    whole, whole_size = powers, 0
    for bit in range(window.bit_length()):
        if bit:
            powers, size = _neighbours(powers, powers, size, size, merge), 2 * size
        if window >> bit & 1:
            whole = _neighbours(whole, powers, whole_size, size, merge) if whole_size else powers
            whole_size += size
    return tuple(values.reshape(shape) for values in whole)


def _neighbours(older: State, newer: State, older_size: int, newer_size: int, merge: Merge) -> State:
    """Every window of `newer` together with the window of `older` that ends where it begins."""
    before = older_size + newer_size - 1  # the first full window ends here
    result = tuple(np.empty_like(values) for values in newer)
    for values in result:
        values[:before] = 0.0
    first = tuple(values[older_size - 1 : values.size - newer_size] for values in older)
    merge(first, tuple(values[before:] for values in newer), newer_size, tuple(values[before:] for values in result))
    return result
