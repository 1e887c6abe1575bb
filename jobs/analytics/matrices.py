"""Matrices that must be invertible or positive semidefinite: Ledoit and Wolf's shrinkage, Higham's
nearest correlation matrix.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jobs.analytics.pairs import MINIMUM
from jobs.analytics.returns import Booleans, Floats


class Shrunk(NamedTuple):
    """A covariance or correlation shrunk towards independence."""

    matrix: Floats  # (instruments, instruments), positive definite where shrinkage > 0; NaN: not available
    shrinkage: float  # 0: as observed, 1: variances only; NaN: not available
    observations: int  # periods common to all instruments


def ledoit_wolf(observations: Floats) -> Shrunk:
    """Shrink the covariance towards a multiple of the identity: (1 - δ) S + δ (tr S / p) I.

    `observations` is (instruments, periods), complete, with at least one period. Means are
    subtracted; S divides by the number of periods. δ minimises the expected squared error.

    O. Ledoit and M. Wolf, "A well-conditioned estimator for large-dimensional covariance matrices",
    Journal of Multivariate Analysis 88 (2004), 365-411.
    """
    size, periods = observations.shape
    centred = observations - observations.mean(axis=1, keepdims=True)
    covariance = centred @ centred.T / periods
    level = float(np.trace(covariance)) / size
    squares = float(np.einsum("ij,ij->", covariance, covariance))
    distance = squares - size * level**2  # of S from its target, squared
    lengths = np.einsum("it,it->t", centred, centred)
    noise = min((float(lengths @ lengths) / periods - squares) / periods, distance)  # the part of it that is error of S
    shrinkage = noise / distance if noise > 0 else 0.0
    matrix = (1 - shrinkage) * covariance
    matrix[np.diag_indices(size)] += shrinkage * level
    return Shrunk(matrix, shrinkage, periods)


def shrunk_correlation(returns: Floats, minimum: int = MINIMUM) -> Shrunk:
    """Ledoit and Wolf's shrinkage of the correlation: that of returns in units of their own
    standard deviation.

    `returns` is (instruments, periods); a value that is not finite is missing. Instruments with
    fewer than `minimum` returns are not available (NaN). Of the other instruments, only common
    periods count: an instrument that is constant in these is not available, and with fewer than
    `minimum` of them none is. The diagonal is 1. Without the units, the shrinkage would follow the
    instrument that moves most.
    """
    known = np.isfinite(returns)
    kept = known.sum(axis=1) >= minimum
    complete = returns[:, known[kept].all(axis=0)]
    matrix = np.full((len(returns), len(returns)), np.nan)
    if kept.any() and complete.shape[1] >= max(minimum, 2):
        kept &= np.ptp(complete, axis=1) > 0
        some = complete[kept]
        if len(some):
            shrunk = ledoit_wolf((some - some.mean(axis=1, keepdims=True)) / some.std(axis=1, keepdims=True))
            matrix[np.ix_(kept, kept)] = _with_unit_diagonal(shrunk.matrix)
            return shrunk._replace(matrix=matrix)
    return Shrunk(matrix, float("nan"), complete.shape[1])


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
    sound = _with_unit_diagonal(matrix, force=True)
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
    return _with_unit_diagonal(_clipped(present, least))


def _clipped(matrix: Floats, least: float) -> Floats:
    """The nearest matrix without an eigenvalue below `least`."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.maximum(values, least)) @ vectors.T)


def _with_unit_diagonal(matrix: Floats, force: bool = False) -> Floats:
    """Scaled (or forced) to a diagonal of 1, exactly symmetric and within [-1, 1]."""
    if force:
        result = matrix.copy()
    else:
        scale = np.sqrt(np.diagonal(matrix))
        result = matrix / (scale[:, None] * scale)
    result = np.clip((result + result.T) / 2, -1.0, 1.0)
    np.fill_diagonal(result, 1.0)
    return result
