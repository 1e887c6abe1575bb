"""Spearman's rank correlation, with ranks among the observations that a pair has in common."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jobs.analytics.pairs import MINIMUM, Correlation, Tile, assemble, ratio
from jobs.analytics.returns import Booleans, Floats

Ranks = NDArray[np.signedinteger]

_TILE = 32  # instruments: ranks are held for every pair of a tile
_ROOM = 1 << 21  # upper limit of these ranks
_SIDE = 512  # instruments per tile if one ranking serves all pairs
_SHORT = 1 << 14  # periods, for which twice the rank fits 16 bits


def spearman(returns: Floats, minimum: int = MINIMUM) -> Correlation:
    """Pearson's r of ranks; ties have their mean rank; each pair is ranked among its common
    observations, as in pandas.

    `returns` is (instruments, periods); a value that is not finite is missing. Not available if
    there are fewer than `minimum` common observations, or if one of the two is constant among them.

    Ranking an instrument against another needs no further sorting. In the instrument's own order,
    the rank of an observation is the number of the other's observations before it: a running count,
    made for all others at once. Ranks (here twice their distance from the mean rank) are whole
    numbers, so their sums are exact. The cost is instruments² times periods, without matrix
    products, because each pair has its own ranks. If all instruments miss the same periods, one
    ranking serves all pairs.
    """
    present = np.isfinite(returns)
    if (present == present[:1]).all():
        return _of_one_pattern(returns[:, present.all(axis=0)], minimum)
    orders = [_Order.of(values) for values in np.where(present, returns, np.inf)]
    shared: Ranks = np.ascontiguousarray(present.T).astype(np.int16 if returns.shape[1] < _SHORT else np.int32)

    def fill(tile: Tile, result: Floats) -> NDArray[np.number]:
        rows, columns = tile
        own = np.empty((returns.shape[1], *result.shape))  # (periods, rows, columns)
        other = own if tile.on_diagonal else np.empty_like(own)
        for row, order in enumerate(orders[rows]):
            own[:, row, :] = order.ranks(shared[:, columns])
        for column, order in enumerate(() if tile.on_diagonal else orders[columns]):
            other[:, :, column] = order.ranks(shared[:, rows])
        turned = own.transpose(0, 2, 1) if tile.on_diagonal else other
        products, spread1, spread2 = (np.einsum("tij,tij->ij", one, two) for one, two in ((own, turned), (own, own), (turned, turned)))
        counts = present[rows].astype(np.float32) @ present[columns].T.astype(np.float32)
        result[:] = ratio(products, spread1, spread2)
        result[counts < minimum] = np.nan
        return counts

    side = min(_TILE, max(1, math.isqrt(_ROOM // max(1, returns.shape[1]))))
    return assemble(len(returns), fill, side)


class _Order(NamedTuple):
    """The observations of an instrument in their order of size, the missing ones last; each
    (periods,).
    """

    periods: NDArray[np.intp]  # by size
    below: NDArray[np.intp]  # by period: number of smaller values
    upto: NDArray[np.intp]  # number of smaller or equal values
    present: Booleans

    @classmethod
    def of(cls, values: Floats) -> _Order:
        """From the values of the periods, infinite if missing."""
        periods = np.argsort(values, kind="stable")
        in_order = values[periods]
        return cls(periods, np.searchsorted(in_order, values, "left"), np.searchsorted(in_order, values, "right"), values < np.inf)

    def ranks(self, shared: Ranks) -> Ranks:
        """Twice the distance from the mean rank among the values shared with each of the others, 0
        elsewhere.

        `shared` is (periods, others), 1 for a shared value, else 0; the result has its shape.
        """
        number = np.count_nonzero(self.present)
        before = np.zeros((len(shared) + 1, shared.shape[1]), shared.dtype)
        np.cumsum(shared[self.periods], axis=0, dtype=shared.dtype, out=before[1:])
        ranks = before[self.below]
        ranks += before[self.upto]
        ranks -= before[number]
        ranks *= shared
        ranks[~self.present] = 0
        return ranks


def _of_one_pattern(returns: Floats, minimum: int) -> Correlation:
    number = returns.shape[1]
    ranks = np.empty(returns.shape)
    for row, values in enumerate(returns):
        order = _Order.of(values)
        ranks[row] = order.below + order.upto - number
    spread = np.einsum("it,it->i", ranks, ranks)

    def fill(tile: Tile, result: Floats) -> NDArray[np.number]:
        products = ranks[tile.rows] @ ranks[tile.columns].T
        result[:] = ratio(products, *np.broadcast_arrays(spread[tile.rows, None], spread[None, tile.columns]))
        if number < minimum:
            result[:] = np.nan
        return np.full(result.shape, number)

    return assemble(len(returns), fill, _SIDE)
