"""Prices of one instrument of the synthetic market, from the levels of its factors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal, InvalidOperation

from jobs.feeds.market.factors import generator
from jobs.feeds.market.levels import SMALLEST_PRICE, Factor, Listing, first_level, loadings, sides

LARGEST_MOVE = Decimal("0.02")
SMALLEST_VOLUME, LARGEST_VOLUME = 1_000, 100_000
_HIGHEST_LOG = 60.0  # exp(60) is 1e26: no price overflows


class Prices:
    """One instrument: its weights, its distance from the sum of the factors, and its last price."""

    def __init__(self, listing: Listing, seed: int | None, last: Decimal | None, volatility: float) -> None:
        """`last` is the price to continue from, None begins at the first level."""
        self.listing = listing
        self.weights = loadings(listing, volatility)
        self.last = last
        self._units: int | None = None  # of the last price that this object made
        self._scale = 10**listing.precision
        self._first = math.log(max(first_level(listing, seed), SMALLEST_PRICE / self._scale))
        self._offset = 0.0
        self._uniform = generator(seed, f"volume {listing.symbol}", {} if last is None else {listing.symbol: last}).random

    def present(self) -> Decimal | None:
        """The last price; None if there is none yet."""
        return self.last if self._units is None else Decimal(self._units).scaleb(-self.listing.precision)

    def distance(self) -> float:
        """The log distance of the last price from its first level."""
        return 0.0 if self.last is None else math.log(self.last) - self._first

    def level(self, values: Mapping[Factor, float]) -> float:
        """The log price at these values of the factors, before rounding."""
        return self._first + self._offset + sum(weight * values[factor] for factor, weight in self.weights.items())

    def settle(self, values: Mapping[Factor, float]) -> None:
        """Set the offset, so that the price continues from the last price or begins at its start.

        An offset within half a spread is 0, because rounding makes such offsets. A new FX pair
        without a start level has none: its price follows from the currencies.
        """
        self._offset = 0.0
        if self.last is not None:
            offset = math.log(self.last) - self.level(values)
            bid, ask = sides(self.listing, units := round(self.last * self._scale))
            self._offset = 0.0 if abs(math.expm1(offset)) * units < (ask - bid) / 2 else offset
        elif self.listing.kind != "fx" or self.listing.start_level is not None:
            self._offset = self._first - self.level(values)

    def levels(self, values: Mapping[Factor, float], paths: Mapping[Factor, Sequence[float]], steps: int, keep: float) -> list[float]:
        """The log price after each step of the factors, from these values along these paths.

        The offset fades. The first of all prices of an instrument is without a step.
        """
        start = self.level(values)
        levels = [self._first] * steps
        if self._offset:
            levels = [self._first + self._offset * keep**step for step in range(1, steps + 1)]
            self._offset *= keep**steps
        for factor, weight in self.weights.items():
            levels = [level + weight * value for level, value in zip(levels, paths[factor], strict=True)]
        return levels if self.present() is not None else [start, *levels[1:]]

    def follow(self, levels: Sequence[float]) -> list[int]:
        """The prices of these log levels: whole units, within ±2 % of the price before."""
        exp, scale, prices = math.exp, self._scale, []
        last = self._units
        for target in [round(exp(min(level, _HIGHEST_LOG)) * scale) for level in levels]:
            if last is None:
                last = self._first_units(target)
            elif target * 100 > last * 102:
                last = last * 102 // 100
            elif target * 100 < last * 98:
                last = -(-last * 98 // 100)
            else:
                last = target
            prices.append(last)
        self._units = last
        return prices

    def volumes(self, steps: int) -> list[int]:
        """A volume for each step."""
        span, uniform = LARGEST_VOLUME - SMALLEST_VOLUME + 1, self._uniform
        return [SMALLEST_VOLUME + int(span * uniform()) for _ in range(steps)]

    def _first_units(self, target: int) -> int:
        """The first price of this object; the stored one before it may lie between two units."""
        if self.last is None:
            return max(target, SMALLEST_PRICE)
        units = self.last * self._scale
        lowest = int((units * (1 - LARGEST_MOVE)).to_integral_value(ROUND_CEILING))
        highest = int((units * (1 + LARGEST_MOVE)).to_integral_value(ROUND_FLOOR))
        if lowest > highest:  # 2 % of the price is less than a unit
            return int(units.to_integral_value(ROUND_HALF_EVEN))
        return max(SMALLEST_PRICE, min(max(target, lowest), highest))


def usable(last: str | None, listing: Listing) -> Decimal | None:
    """The price from which an instrument continues; None if it leaves no room for a bid above 0."""
    try:
        price = Decimal(last or "nan")
        return price if price.is_finite() and price < 10**20 and round(price.scaleb(listing.precision)) >= SMALLEST_PRICE else None
    except InvalidOperation:
        return None
