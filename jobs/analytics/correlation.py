"""Correlation of every pair of instruments over the periods that both have: arrays in, arrays out, no loop over pairs.

`returns` is (instruments, periods), float64, missing where not finite. Each pair is correlated over its own common observations, with
means, spreads or ranks of those alone: instruments of different sessions compare, and a hole of one changes nothing for the others. Such
a matrix need not be positive semidefinite; `matrices.nearest_correlation` makes it so.

Memory: the matrix and its counts (12 bytes a pair), five times the returns, and less than 50 MB to work in, however many instruments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jobs.analytics.pairs import Correlation, Room, Tile, assemble, correlate_again, ratio, scaled
from jobs.analytics.ranks import spearman
from jobs.analytics.returns import Booleans, Floats

DECAY = 0.94  # λ of RiskMetrics
MINIMUM = 30  # observations: below, a correlation of 0 has a standard error above 0.18

_TILE = 512  # instruments: a tile of the matrix is worked on at once
_STRIP = 64  # rows of a tile that the processor's cache holds
_DOUBTFUL = 1e-3  # a difference this small, relative to what it is taken of, has lost three digits
_LARGE = 256  # instruments from which time matters more than the last digits
_SINGLE = 5e-10  # what sums in single precision may cost a correlation, at most
_EPSILON = float(np.finfo(np.float32).eps) / 2


def pearson(returns: Floats, minimum: int = MINIMUM) -> Correlation:
    """Pearson's r over pairwise complete observations, as pandas' `DataFrame.corr`, in matrix products.

    Fewer than `minimum` common observations, or one of the two constant among them: not available.

    With each instrument's own mean taken off first, r = (Σxy - ΣxΣy/n) / sqrt((Σx² - (Σx)²/n) (Σy² - (Σy)²/n)), every sum over the common
    observations. That loses digits where these lie far from the instrument's mean, because of an outlier the other one has no observation
    for. Such pairs are recognised and done again by themselves.
    """
    side, pieces = min(_TILE, len(returns)), 6 if len(returns) > _TILE else 4
    # In one piece: the system's part in handing out and taking back many is as large as that of the arithmetic.
    memory = np.empty(4 * returns.size + pieces * side**2)
    data, room = _Centred.of(returns, memory[: 4 * returns.size]), Room(memory[4 * returns.size :].reshape(pieces, -1))
    return assemble(len(returns), lambda tile, result: _pearson_tile(data, room, returns, tile, minimum, result), _TILE)


def ewma(returns: Floats, minimum: int = MINIMUM, decay: float = DECAY) -> Correlation:
    """Exponentially weighted correlation without means: Σ λ^age xy / sqrt(Σ λ^age x² Σ λ^age y²), each sum over the common observations.

    Age is counted in periods from the last column. J. P. Morgan/Reuters, "RiskMetrics - Technical Document" (4th edition 1996), 5.2.
    Fewer than `minimum` common observations, or only returns of 0 among them: not available.
    """
    present = np.isfinite(returns)
    values = scaled(np.where(present, returns, 0.0)) * np.sqrt(decay) ** np.arange(returns.shape[1] - 1, -1, -1.0)
    squares, mask = values * values, present.astype(np.float64)

    def fill(tile: Tile, result: Floats) -> NDArray[np.number]:
        rows, columns = tile
        counts = mask[rows] @ mask[columns].T
        result[:] = ratio(values[rows] @ values[columns].T, squares[rows] @ mask[columns].T, mask[rows] @ squares[columns].T)
        result[counts < minimum] = np.nan
        return counts

    return assemble(len(returns), fill, _TILE)


METHODS: dict[str, Callable[[Floats, int], Correlation]] = {"pearson": pearson, "spearman": spearman, "ewma": ewma}


@dataclass(frozen=True, slots=True)
class _Centred:
    """Returns without their instrument's mean, 0 where missing; each (instruments, periods) or (instruments, 1)."""

    values: Floats
    squares: Floats
    present: Floats  # 1 or 0
    single: NDArray[np.float32]  # the values
    missing: NDArray[np.float32]  # 1 or 0; counts are exact in single precision
    holes: NDArray[np.float32]  # how many are missing
    total: Floats  # what rounding left of the mean, times the number: nothing, unless the spread is nothing beside the mean
    spread: Floats  # root mean square

    @classmethod
    def of(cls, returns: Floats, memory: Floats) -> _Centred:
        """In `memory`, four times the size of `returns`."""
        values, squares, present, halves = memory.reshape(4, *returns.shape)
        single, missing = halves.reshape(-1).view(np.float32).reshape(2, *returns.shape)
        made = cls(values, squares, present, single, missing, np.empty((len(returns), 1), np.float32), *np.empty((2, len(returns), 1)))
        for first in range(0, len(returns), _STRIP):
            made._fill(slice(first, first + _STRIP), returns[first : first + _STRIP])
        return made

    def _fill(self, rows: slice, returns: Floats) -> None:
        values, squares, present, missing = self.values[rows], self.squares[rows], self.present[rows], self.missing[rows]
        known = np.isfinite(returns)
        np.copyto(present, known)
        np.logical_not(known, out=missing, casting="unsafe")
        numbers = known.sum(axis=1, keepdims=True)
        each = 1.0 / np.maximum(numbers, 1)
        np.copyto(values, returns)
        np.copyto(values, 0.0, where=~known)
        values -= values.sum(axis=1, keepdims=True) * each
        values *= present
        farthest = np.maximum(values.max(axis=1, keepdims=True, initial=0.0), -values.min(axis=1, keepdims=True, initial=0.0))
        values *= np.ldexp(1.0, -np.frexp(farthest)[1])  # by a power of two, which changes no digit
        np.multiply(values, values, out=squares)
        np.copyto(self.single[rows], values)
        np.subtract(returns.shape[1], numbers, out=self.holes[rows], casting="unsafe")
        np.sum(values, axis=1, keepdims=True, out=self.total[rows])
        np.sqrt(squares.sum(axis=1, keepdims=True) * each, out=self.spread[rows])


class _Sums(NamedTuple):
    """Of each instrument of a tile's rows, over the observations that it shares with each of its columns."""

    values: NDArray[np.floating]
    squares: Floats

    def part(self, rows: slice, columns: slice) -> _Sums:
        return _Sums(self.values[rows, columns], self.squares[rows, columns])

    def turned(self) -> _Sums:
        return _Sums(self.values.T, self.squares.T)


def _pearson_tile(data: _Centred, room: Room, returns: Floats, tile: Tile, minimum: int, result: Floats) -> NDArray[np.number]:
    rows, columns = tile
    counts = room.product(0, data.missing[rows], data.missing[columns])
    counts += returns.shape[1] - data.holes[rows]
    counts -= data.holes[columns].T
    fewest = max(float(counts.min()), minimum, 1.0)
    products = room.product(1, data.values[rows], data.values[columns])
    own = _sums(data, room, 2, rows, columns, fewest)
    other = own if tile.on_diagonal else _sums(data, room, 4, columns, rows, fewest)
    for first in range(0, len(result), _STRIP):
        some, rest = slice(first, first + _STRIP), slice(first if tile.on_diagonal else 0, None)
        strip = result[some, rest]
        doubtful = _pearson_strip(products[some, rest], counts[some, rest], own.part(some, rest), other.part(rest, some).turned(), strip)
        if fewest <= minimum:
            lacking = counts[some, rest] < minimum
            np.copyto(strip, np.nan, where=lacking)
            doubtful &= ~lacking
        if doubtful.any():
            correlate_again(strip, returns[rows][some], returns[columns][rest], doubtful)
    return counts


def _sums(data: _Centred, room: Room, piece: int, own: slice, other: slice, fewest: float) -> _Sums:
    """Of centred values what is shared sums to the opposite of what is not, which is less: for many instruments, single precision may do.

    An error d of Σx changes r by some 2 d Σx / (n Σx²), and d is about the precision times the root mean square times the number of terms.
    """
    squares = room.product(piece + 1, data.squares[own], data.present[other])
    if len(data.values) >= _LARGE:
        short = room.product(piece, data.single[own], data.missing[other])
        np.subtract(data.total[own], short, out=short, casting="same_kind")
        farthest = np.maximum(short.max(axis=1, keepdims=True), -short.min(axis=1, keepdims=True))
        error = float(data.holes[other].max()) * _EPSILON * data.spread[own]
        if (farthest * error <= _SINGLE * fewest * squares.min(axis=1, keepdims=True)).all():
            return _Sums(short, squares)
    return _Sums(room.product(piece, data.values[own], data.present[other]), squares)


def _pearson_strip(products: Floats, counts: NDArray[np.float32], own: _Sums, other: _Sums, result: Floats) -> Booleans:
    """Correlations into `result`, and which of them to do again."""
    each = 1.0 / np.sqrt(np.maximum(counts, 1.0), dtype=np.float64)
    mean1, mean2 = own.values * each, other.values * each  # times sqrt(n)
    products = products - mean1 * mean2
    mean1 *= mean1
    mean2 *= mean2
    spreads = own.squares - mean1
    spreads *= other.squares - mean2
    whole = own.squares * other.squares
    whole *= _DOUBTFUL
    doubtful = spreads < whole
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 where one of them is constant
        np.divide(products, np.sqrt(spreads, out=spreads), out=result)
    return np.asarray(doubtful)
