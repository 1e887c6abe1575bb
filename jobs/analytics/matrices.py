"""Matrices that must invert or be positive semidefinite: Ledoit and Wolf's shrinkage, and Higham's nearest correlation matrix."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jobs.analytics.pairs import MINIMUM
from jobs.analytics.returns import Booleans, Floats


class Shrunk(NamedTuple):
    """A covariance or correlation drawn towards independence."""

    matrix: Floats  # (instruments, instruments), positive definite where shrinkage > 0; NaN: not available
    shrinkage: float  # 0: as observed, 1: nothing but variances; NaN: not available
    observations: int  # periods that all instruments have


def ledoit_wolf(observations: Floats) -> Shrunk:
    """Covariance drawn towards a multiple of the identity: (1 - δ) S + δ (tr S / p) I, with the δ that is best on average.

    `observations`: (instruments, periods), complete, at least one period; means are taken off, S divides by the number of periods.
    O. Ledoit and M. Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", Journal of Multivariate Analysis 88
    (2004), 365-411.
    """
    size, periods = observations.shape
    centred = observations - observations.mean(axis=1, keepdims=True)
    covariance = centred @ centred.T / periods
    level = float(np.trace(covariance)) / size
    squares = float(np.einsum("ij,ij->", covariance, covariance))
    distance = squares - size * level**2  # of S from its target, squared
    lengths = np.einsum("it,it->t", centred, centred)
    noise = min((float(lengths @ lengths) / periods - squares) / periods, distance)  # of it, what is error of S
    shrinkage = noise / distance if noise > 0 else 0.0
    matrix = (1 - shrinkage) * covariance
    matrix[np.diag_indices(size)] += shrinkage * level
    return Shrunk(matrix, shrinkage, periods)


def shrunk_correlation(returns: Floats, minimum: int = MINIMUM) -> Shrunk:
    """Ledoit and Wolf's shrinkage of the correlation: that of returns in units of their own standard deviation; its diagonal is 1.

    `returns`: (instruments, periods), missing where not finite. Instruments with fewer than `minimum` returns are not available (NaN), then
    only periods that all others have count; an instrument that is constant in these is not available either, and with fewer than `minimum`
    periods none is. On returns as they are, the shrinkage would follow whatever instrument moves most.
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
    """The correlation matrix nearest to a symmetric one (in the sum of squared differences): diagonal 1, no eigenvalue below `least`.

    Alternating projections with Dykstra's correction: N. J. Higham, "Computing the nearest correlation matrix - a problem from finance",
    IMA Journal of Numerical Analysis 22 (2002), 329-343. At most `most` of them, until one moves nothing by more than `tolerance`; a last
    step makes the result sound wherever they ended. Instruments without all of their correlations are left out, the emptiest first, and are
    NaN in the result. Raises `ValueError` unless the matrix is symmetric and 0 <= least < 1.
    """
    if not np.array_equal(matrix, matrix.T, equal_nan=True) or not 0 <= least < 1:
        raise ValueError("a symmetric matrix and 0 <= least < 1 are needed")
    kept = complete_part(matrix)
    result = np.full(matrix.shape, np.nan)
    if kept.any():
        result[np.ix_(kept, kept)] = _higham(matrix[np.ix_(kept, kept)], most, tolerance, least)
    return result


def complete_part(matrix: Floats) -> Booleans:
    """Which instruments to keep so that none of their correlations is missing: the one with most missing goes first, of equals the last."""
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
