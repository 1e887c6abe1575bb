"""Random walks that instruments share, and their values after a restart."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from jobs.feeds.market.levels import Factor

DAY = 86_400.0
HALF_LIFE = 180 * DAY  # of the distance from the first level, in seconds
CALM_HALF_LIFE = DAY  # of the common level of volatility, in seconds
CALM_SPREAD = 0.2  # standard deviation of the logarithm of that level
# Variance of a log price that least squares allow, about a unit of FX; it decides only between
# solutions that fit equally well.
_NOISE = 1e-8
# The last prices of these instruments are in the keys of generators, so that an instrument that is
# added changes no key.
_ANCHORS = frozenset(("EUR_USD", "GBP_USD", "USD_JPY", "USD_CHF", "AUD_USD", "USD_CAD", "NZD_USD", "XAU_USD", "BTCUSDT", "ETHUSDT", "AAPL"))


class Walk:
    """The log level of a factor, as the distance from its first level."""

    def __init__(self, factor: Factor, generator: random.Random, value: float) -> None:
        self.value = value
        self._volatility = factor.volatility
        self._uniform = generator.random

    def path(self, scales: Iterable[float], keep: float) -> list[float]:
        """The levels after one step for each scale; a step multiplies the distance by `keep`."""
        value, volatility, uniform, path = self.value, self._volatility, self._uniform, []
        for scale in scales:
            value = value * keep + volatility * scale * student_t4(uniform())
            path.append(value)
        self.value = value
        return path


class Calm:
    """The common level of volatility of a calendar, exp(0.2 z - 0.04): its mean square is 1.

    z is a standard normal AR(1) process.
    """

    def __init__(self, generator: random.Random) -> None:
        self._normal = generator.gauss
        self._z = self._normal(0.0, 1.0)

    def path(self, steps: int, seconds: float) -> list[float]:
        """The levels after each of so many steps of so many seconds."""
        keep = 0.5 ** (seconds / CALM_HALF_LIFE)
        z, normal, rest, path = self._z, self._normal, math.sqrt(1 - keep * keep), []
        for _ in range(steps):
            z = z * keep + rest * normal(0.0, 1.0)
            path.append(math.exp(CALM_SPREAD * z - CALM_SPREAD**2))
        self._z = z
        return path


def student_t4(chance: float) -> float:
    """The quantile of Student's t with 4 degrees of freedom at `chance`, in [0, 1].

    W. T. Shaw, "Sampling Student's T distribution - use of the inverse cumulative distribution
    function", Journal of Computational Finance 9 (2006), 37-73.
    """
    root = 2 * math.sqrt(max(chance * (1 - chance), 1e-30))
    size = 2 * math.sqrt(max(0.0, math.cos(math.acos(min(1.0, root)) / 3) / root - 1))
    return size if chance > 0.5 else -size


def generator(seed: int | None, name: str, last: Mapping[str, Decimal]) -> random.Random:
    """The generator of a part of the market.

    `last` maps the instruments that depend on it to their last prices. One of these prices is in
    the key, so that a restart continues with other moves. Without a seed, every generator differs.
    """
    if seed is None:
        return random.Random()  # noqa: S311 - a market, not a secret
    symbol = min(last, key=lambda each: (each not in _ANCHORS, each), default=None)
    start = "" if symbol is None else f"{last[symbol].normalize():f}"
    return random.Random(f"{seed}/{name}/{start}")  # noqa: S311


def fit(equations: Sequence[tuple[Mapping[Factor, float], float]]) -> dict[Factor, float]:
    """Values of the factors by least squares; each equation is (weights, sum of weight × value).

    If several solutions fit, the one with the smallest Σ (value / volatility)² is taken.
    """
    factors = sorted({factor for weights, _ in equations for factor in weights}, key=lambda factor: factor.name)
    matrix = [[0.0] * (len(factors) + 1) for _ in factors]
    for row, first in enumerate(factors):
        matrix[row][row] = _NOISE / max(first.volatility, 1e-3) ** 2
        for weights, value in equations:
            if weight := weights.get(first):
                for column, second in enumerate(factors):
                    matrix[row][column] += weight * weights.get(second, 0.0)
                matrix[row][-1] += weight * value
    return dict(zip(factors, _solved(matrix), strict=True))


def _solved(matrix: list[list[float]]) -> list[float]:
    """Solve a symmetric, positive definite system by elimination; the last column is the right
    side.
    """
    size = len(matrix)
    for pivot in range(size):
        for row in range(pivot + 1, size):
            share = matrix[row][pivot] / matrix[pivot][pivot]
            matrix[row] = [value - share * above for value, above in zip(matrix[row], matrix[pivot], strict=True)]
    values = [0.0] * size
    for row in reversed(range(size)):
        rest = sum(matrix[row][column] * values[column] for column in range(row + 1, size))
        values[row] = (matrix[row][-1] - rest) / matrix[row][row]
    return values
