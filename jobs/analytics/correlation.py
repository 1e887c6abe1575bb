"""Correlation of every pair of instruments over their common periods: arrays in, arrays out, no
loop over pairs.

`returns` is (instruments, periods), float64; a value that is not finite is missing. Each pair is
correlated over its own common observations, with means, spreads or ranks of those only. So
instruments of different sessions can be compared, and a gap of one instrument does not affect the
others. Such a matrix need not be positive semidefinite; `db.nearest_correlation` makes it so.

Memory: the matrix and its counts (12 bytes a pair), four times the returns, and less than 20 MB of
working memory for any number of instruments.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from jobs.analytics.pairs import MINIMUM, Correlation, Tile, assemble, correlate_again, ratio, scaled
from jobs.analytics.ranks import spearman
from jobs.analytics.returns import Booleans, Floats
from jobs.analytics.sums import Centred, Room, Sums, counts, sums

DECAY = 0.94  # λ of RiskMetrics

_TILE = 512  # instruments per tile of the matrix
_STRIP = 64  # rows of a tile that fit into the processor's cache
_DOUBTFUL = 1e-3  # a smaller difference, relative to its minuend, has lost three digits


def pearson(returns: Floats, minimum: int = MINIMUM) -> Correlation:
    """Pearson's r over pairwise complete observations, as pandas' `DataFrame.corr`, in matrix
    products.

    Not available if there are fewer than `minimum` common observations, or if one of the two is
    constant among them.

    After subtracting each instrument's own mean, r = (Σxy - ΣxΣy/n) / sqrt((Σx² - (Σx)²/n) (Σy² -
    (Σy)²/n)), every sum over the common observations. That loses digits if the common observations
    lie far from the instrument's mean, because of an outlier at a time that the other instrument
    lacks. Such pairs are recognised and computed again one by one.
    """
    side, pieces = min(_TILE, len(returns)), 6 if len(returns) > _TILE else 4
    # In one piece: allocating and freeing many pieces would cost as much as the arithmetic.
    memory = np.empty(4 * returns.size + pieces * side**2)
    data, room = Centred.of(returns, memory[: 4 * returns.size]), Room(memory[4 * returns.size :].reshape(pieces, -1))
    return assemble(len(returns), lambda tile, result: _pearson_tile(data, room, returns, tile, minimum, result), _TILE)


def ewma(returns: Floats, minimum: int = MINIMUM, decay: float = DECAY) -> Correlation:
    """Exponentially weighted correlation without means: Σ λ^age xy / sqrt(Σ λ^age x² Σ λ^age y²).

    Each sum is over the common observations; age is counted in periods from the last column. Not
    available if there are fewer than `minimum` common observations, or only returns of 0 among
    them.

    J. P. Morgan/Reuters, "RiskMetrics - Technical Document" (4th edition 1996), 5.2.
    """
    present = np.isfinite(returns)
    values = scaled(np.where(present, returns, 0.0)) * np.sqrt(decay) ** np.arange(returns.shape[1] - 1, -1, -1.0)
    squares, mask = values * values, present.astype(np.float64)

    def fill(tile: Tile, result: Floats) -> NDArray[np.number]:
        rows, columns = tile
        numbers = mask[rows] @ mask[columns].T
        result[:] = ratio(values[rows] @ values[columns].T, squares[rows] @ mask[columns].T, mask[rows] @ squares[columns].T)
        result[numbers < minimum] = np.nan
        return numbers

    return assemble(len(returns), fill, _TILE)


class Method(Protocol):
    """A method: returns and the minimum of common observations -> matrix and counts."""

    def __call__(self, returns: Floats, minimum: int = MINIMUM) -> Correlation: ...


METHODS: dict[str, Method] = {"pearson": pearson, "spearman": spearman, "ewma": ewma}


def _pearson_tile(data: Centred, room: Room, returns: Floats, tile: Tile, minimum: int, result: Floats) -> NDArray[np.number]:
    rows, columns = tile
    products = room.product(0, data.values[rows], data.values[columns])
    numbers = counts(data, room, 1, rows, columns)
    fewest = float(numbers.min())
    own = sums(data, room, (2, 3), rows, columns, max(fewest, minimum, 1))
    other = own if tile.on_diagonal else sums(data, room, (4, 5), columns, rows, max(fewest, minimum, 1))
    for first in range(0, len(result), _STRIP):
        some, rest = slice(first, first + _STRIP), slice(first if tile.on_diagonal else 0, None)
        strip = result[some, rest]
        doubtful = _pearson_strip(products[some, rest], numbers[some, rest], own.part(some, rest), other.part(rest, some).turned(), strip)
        if fewest < minimum:
            lacking = numbers[some, rest] < minimum
            np.copyto(strip, np.nan, where=lacking)
            doubtful &= ~lacking
        if doubtful.any():
            correlate_again(strip, returns[rows][some], returns[columns][rest], doubtful)
    return numbers


def _pearson_strip(products: Floats, numbers: NDArray[np.float32], own: Sums, other: Sums, result: Floats) -> Booleans:
    """Store correlations in `result`; return the pairs to compute again."""
    each = 1.0 / np.maximum(numbers, 1.0, dtype=np.float64)
    mean1, mean2 = own.values * each, other.values * each
    products = products - mean1 * other.values
    mean1 *= own.values
    mean2 *= other.values
    spreads = own.squares - mean1
    spreads *= other.squares - mean2
    whole = own.squares * other.squares
    whole *= _DOUBTFUL
    doubtful = spreads < whole
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 if one of them is constant
        np.divide(products, np.sqrt(spreads, out=spreads), out=result)
    return np.asarray(doubtful)
