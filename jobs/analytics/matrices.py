"""Matrices that must be invertible: Ledoit and Wolf's shrinkage.

`db/nearest_correlation.py` has Higham's nearest correlation matrix.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from db.nearest_correlation import with_unit_diagonal
from jobs.analytics.pairs import MINIMUM
from jobs.analytics.returns import Floats


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
            matrix[np.ix_(kept, kept)] = with_unit_diagonal(shrunk.matrix)
            return shrunk._replace(matrix=matrix)
    return Shrunk(matrix, float("nan"), complete.shape[1])
