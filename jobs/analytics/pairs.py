"""Shared parts of the correlation methods: the matrix assembled from tiles, and the exact method
for single pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jobs.analytics.returns import Booleans, Counts, Floats

MINIMUM = 30  # observations; with fewer, a correlation of 0 has a standard error above 0.18

_MIRRORED = 64  # rows at a time
_GATHERED = 1 << 19  # observations per step of the exact method


class Correlation(NamedTuple):
    """(instruments, instruments), both exactly symmetric."""

    matrix: Floats  # within [-1, 1], the diagonal 1; NaN: not available
    counts: Counts  # common observations


class Tile(NamedTuple):
    """Part of the matrix, on or above the diagonal."""

    rows: slice
    columns: slice

    @property
    def on_diagonal(self) -> bool:
        return self.rows == self.columns


# Fill in the tile's correlations, NaN if not available; return its counts.  On the diagonal, the
# lower half is not read.
FillTile = Callable[[Tile, Floats], NDArray[np.number]]


def assemble(size: int, fill: FillTile, side: int) -> Correlation:
    """The matrix of `size` instruments from tiles of `side` by `side`."""
    matrix, counts = np.empty((size, size)), np.empty((size, size), np.int32)
    starts = range(0, size, side)
    for tile in (Tile(slice(row, row + side), slice(column, column + side)) for row in starts for column in starts if row <= column):
        values = matrix[tile.rows, tile.columns]
        numbers = fill(tile, values)
        np.clip(values, -1.0, 1.0, out=values)
        if tile.on_diagonal:
            _mirror(values)
        else:
            matrix[tile.columns, tile.rows], counts[tile.columns, tile.rows] = values.T, numbers.T
        counts[tile.rows, tile.columns] = numbers
    return Correlation(matrix, counts)


def _mirror(values: Floats) -> None:
    for first in range(0, len(values), _MIRRORED):
        upper = values[first : first + _MIRRORED, first:]
        values[first + _MIRRORED :, first : first + _MIRRORED] = upper[:, _MIRRORED:].T
        corner = upper[:, : len(upper)]
        corner[:] = np.where(np.tri(len(corner), k=-1, dtype=np.bool_), corner.T, corner)
    diagonal = np.einsum("ii->i", values)  # a view
    diagonal[~np.isnan(diagonal)] = 1.0


def correlate_again(result: Floats, own: Floats, other: Floats, pairs: Booleans) -> None:
    """Store Pearson's r of these pairs of returns in `result`, each pair by itself in two passes.

    `pairs` is true for the pairs (own, other) to compute.
    """
    firsts, seconds = np.nonzero(pairs)
    step = max(1, _GATHERED // max(1, own.shape[1]))
    for start in range(0, len(firsts), step):
        some1, some2 = firsts[start : start + step], seconds[start : start + step]
        result[some1, some2] = _two_passes(own[some1], other[some2])


def ratio(products: Floats, spread1: Floats, spread2: Floats) -> Floats:
    """products / sqrt(spread1 spread2); NaN unless both spreads are positive."""
    known = (spread1 > 0) & (spread2 > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        result = products / (np.sqrt(spread1) * np.sqrt(spread2))
    return np.where(known, result, np.nan)


def scaled(values: Floats) -> Floats:
    """Each row times a power of two, so that its largest value is about 1.

    That changes no digit; squares neither overflow nor vanish.
    """
    _, exponents = np.frexp(np.abs(values).max(axis=1, initial=0.0, keepdims=True))
    return np.asarray(np.ldexp(values, -exponents))


def _two_passes(first: Floats, second: Floats) -> Floats:
    """Pearson's r of each row of one with the same row of the other, over the values finite in
    both.

    NaN if either row is constant there.
    """
    common = np.isfinite(first) & np.isfinite(second)
    one, two = (_deviations(values, common) for values in (first, second))
    return ratio(np.einsum("pt,pt->p", one, two), np.einsum("pt,pt->p", one, one), np.einsum("pt,pt->p", two, two))


def _deviations(values: Floats, common: Booleans) -> Floats:
    """Deviations from the mean of the common values, scaled; 0 elsewhere."""
    some = np.take_along_axis(values, common.argmax(axis=1)[:, None], axis=1)
    moved = scaled(np.where(common, values - some, 0.0))  # minus one of them: if all are equal, this is exactly 0
    moved -= (moved.sum(axis=1) / np.maximum(common.sum(axis=1), 1))[:, None]
    return np.where(common, moved, 0.0)
