"""Spearman's rank correlation, with ranks among exactly the observations that a pair has in common."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jobs.analytics.pairs import Correlation, Tile, assemble, ratio
from jobs.analytics.returns import Booleans, Floats

_TILE = 32  # instruments: ranks are held for every pair of a tile
_FEW = 1 << 14  # periods up to which twice a rank fits 16 bits

Ranks = NDArray[np.signedinteger]


def spearman(returns: Floats, minimum: int = 30) -> Correlation:
    """Pearson's r of ranks; ties have their mean rank; each pair is ranked anew among its common observations, as pandas does.

    Fewer than `minimum` common observations, or one of the two constant among them: not available.

    Ranking instrument i among what it shares with j needs no sorting for each j: in i's own order, the rank of an observation is how many
    of j's observations stand before it, a running count that is made for all j at once. Ranks are whole numbers (here twice the distance
    from the mean rank), so sums of them are exact. Where nothing is missing everybody has one ranking, and it is one matrix product.
    Otherwise the work grows with instruments² × periods: there is no way through matrix products alone, for each pair has ranks of its own.
    """
    present = np.isfinite(returns)
    if (present == present[:1]).all():
        return _of_one_pattern(returns, present, minimum)
    places = [_Places.of(values) for values in np.where(present, returns, np.inf)]
    columns = np.ascontiguousarray(present.T)

    def fill(tile: Tile, result: Floats) -> NDArray[np.number]:
        own, other = (_ranks(places[one], columns[:, two]) for one, two in (tile, tile[::-1]))
        own *= columns.T[tile.rows, :, None]
        ...

    return assemble(len(returns), fill, _TILE)
