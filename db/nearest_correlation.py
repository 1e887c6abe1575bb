"""Higham's nearest correlation matrix: arrays in, arrays out.

REST repairs stored matrices with it on request, so it is not a part of the jobs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]


def nearest_rows(rows: Sequence[Sequence[float | None]]) -> list[list[float | None]]:
    """`nearest_correlation` of lists, with None for NaN."""
    matrix = np.array([[np.nan if value is None else value for value in row] for row in rows], np.float64)
    nearest = nearest_correlation(matrix.reshape(len(rows), len(rows)))
    return [[None if np.isnan(value) else value for value in row] for row in nearest.tolist()]


def nearest_correlation(matrix: Floats, most: int = 200, tolerance: float = 1e-10, least: float = 0.0) -> Floats:
    """The correlation matrix nearest to a symmetric one: diagonal 1, no eigenvalue below `least`.

    It minimises the sum of squared differences by at most `most` alternating projections with
    Dykstra's correction, until one moves no element by more than `tolerance`. A last step makes the
    result valid in any case. Instruments without all of their correlations are left out, the
    emptiest first, and are NaN in the result. Raises `ValueError` unless the matrix is symmetric
    and 0 <= least < 1.

    N. J. Higham, "Computing the nearest correlation matrix - a problem from finance", IMA Journal
    of Numerical Analysis 22 (2002), 329-343.
    """
    if not np.array_equal(matrix, matrix.T, equal_nan=True) or not 0 <= least < 1:
        raise ValueError("a symmetric matrix and 0 <= least < 1 are needed")
    kept = complete_part(matrix)
    result = np.full(matrix.shape, np.nan)
    if kept.any():
        result[np.ix_(kept, kept)] = _higham(matrix[np.ix_(kept, kept)], most, tolerance, least)
    return result


def complete_part(matrix: Floats) -> Booleans:
    """The instruments to keep so that none of their correlations is missing.

    The instrument with the most missing correlations is dropped first; among equals, the last one.
    """
    missing = np.isnan(matrix)
    kept = np.ones(len(matrix), np.bool_)
    while missing[np.ix_(kept, kept)].any():
        numbers = np.where(kept, missing[:, kept].sum(axis=1), -1)
        kept[len(numbers) - 1 - np.argmax(numbers[::-1])] = False
    return kept


def _higham(matrix: Floats, most: int, tolerance: float, least: float) -> Floats:
    sound = with_unit_diagonal(matrix, force=True)
    if np.linalg.eigvalsh(sound)[0] >= least:
        return sound
    present, correction = matrix, np.zeros_like(matrix)
    for _ in range(most):
        moved = present - correction
        positive = _clipped(moved, least)
        correction = positive - moved
        following = positive.copy()
        np.fill_diagonal(following, 1.0)
        change = np.abs(following - present).max()
        present = following
        if change <= tolerance:
            break
    return with_unit_diagonal(_clipped(present, least))


def _clipped(matrix: Floats, least: float) -> Floats:
    """The nearest matrix without an eigenvalue below `least`."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.maximum(values, least)) @ vectors.T)


def with_unit_diagonal(matrix: Floats, force: bool = False) -> Floats:
    """Scaled (or forced) to a diagonal of 1, exactly symmetric and within [-1, 1]."""
    if force:
        result = matrix.copy()
    else:
        scale = np.sqrt(np.diagonal(matrix))
        result = matrix / (scale[:, None] * scale)
    result = np.clip((result + result.T) / 2, -1.0, 1.0)
    np.fill_diagonal(result, 1.0)
    return result
