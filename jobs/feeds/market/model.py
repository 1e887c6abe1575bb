"""The synthetic market: log prices that are sums of shared factors.

A currency, a market or a single instrument has a factor. Each factor is a random walk with steps of
Student's t and a weak return to its first level. Each calendar has a level of volatility that
changes slowly and is common to its factors. Correlations and consistent crosses follow.

Every factor has its own generator, keyed by seed, factor and start. So another instrument changes
no series.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from db.calendars import market_open
from jobs.analytics.periods import periods_per_year
from jobs.feeds.market.factors import HALF_LIFE, Calm, Walk, fit, generator
from jobs.feeds.market.levels import Factor, Listing
from jobs.feeds.market.prices import Prices, usable

CLOSED = 0.1  # of a step while the market is closed


@dataclass(frozen=True, slots=True)
class Path:
    """Prices of one instrument after each step, in units of 10 ** -precision, and volumes."""

    listing: Listing
    mids: Sequence[int]
    volumes: Sequence[int]


class Market:
    """Prices of these instruments, from `latest` or else from their first levels.

    `latest` maps a symbol to its last price as text; an unusable price counts as none. Without a
    seed, every market differs. `volatility` multiplies every volatility.
    """

    def __init__(
        self, listings: Iterable[Listing], seed: int | None, *, latest: Mapping[str, str] | None = None, volatility: float = 1.0
    ) -> None:
        self._seed = seed
        self._volatility = volatility
        self._all: dict[str, Prices] = {}  # symbol -> every instrument so far
        self._walks: dict[Factor, Walk] = {}
        self._calms: dict[str, Calm] = {}  # calendar -> its level of volatility
        self._chosen: tuple[str, ...] = ()
        self.set_listings(listings, latest)

    def set_listings(self, listings: Iterable[Listing], latest: Mapping[str, str] | None = None) -> None:
        """Replace the set of instruments. The series of the others do not change.

        An instrument that this market has had before continues from its last price here, a new one
        from `latest`.
        """
        chosen = {each.symbol: each for each in listings}
        new = []
        for symbol, listing in chosen.items():
            former = self._all.get(symbol)
            if former is None or former.listing != listing:
                last = usable((latest or {}).get(symbol), listing) if former is None else former.present()
                self._all[symbol] = Prices(listing, self._seed, last, self._volatility)
                new.append(self._all[symbol])
        self._begin_walks(new)
        values = self._values()
        for prices in new:
            prices.settle(values)
        self._chosen = tuple(chosen)

    def advance(self, moments: Sequence[datetime], seconds: float, ends: Mapping[str, float] | None = None) -> list[Path]:
        """Make a step of `seconds` for each moment; return the path of each instrument, in order.

        The first price of an instrument without a last price is its first level, without a step.
        `ends` maps symbols to the level at which their path must end; it is moved as a whole.
        """
        scales = {calendar: self._scales(calendar, moments, seconds) for calendar in self._calms}
        keep = 0.5 ** (seconds / HALF_LIFE)
        values = self._values()
        walked = {factor: walk.path(scales[factor.calendar], keep) for factor, walk in self._walks.items()}
        found = []
        for prices in (self._all[symbol] for symbol in self._chosen):
            levels = prices.levels(values, walked, len(moments), keep)
            if end := (ends or {}).get(prices.listing.symbol):
                levels = [level + math.log(end) - levels[-1] for level in levels]
            found.append(Path(prices.listing, prices.follow(levels), prices.volumes(len(moments))))
        return found

    def level(self, symbol: str) -> float:
        """The present price of the model, before rounding."""
        return math.exp(self._all[symbol].level(self._values()))

    def _values(self) -> dict[Factor, float]:
        return {factor: walk.value for factor, walk in self._walks.items()}

    def _begin_walks(self, new: Sequence[Prices]) -> None:
        """Make the factors that these instruments need and that do not exist yet.

        Currencies begin at the levels that fit the last prices. Other factors begin at their first
        level, and the rest of the last price is the offset of the instrument.
        """
        fx = [prices for prices in new if prices.listing.kind == "fx" and prices.last is not None]
        values = fit([self._equation(prices) for prices in fx])
        for factor in dict.fromkeys(factor for prices in new for factor in prices.weights if factor not in self._walks):
            chance = generator(self._seed, factor.name, _last_prices(new, {factor}))
            self._walks[factor] = Walk(factor, chance, values.get(factor, 0.0))
        for calendar in dict.fromkeys(factor.calendar for factor in self._walks if factor.calendar not in self._calms):
            of_calendar = {factor for factor in self._walks if factor.calendar == calendar}
            self._calms[calendar] = Calm(generator(self._seed, f"calm {calendar}", _last_prices(new, of_calendar)))

    def _equation(self, prices: Prices) -> tuple[dict[Factor, float], float]:
        """The weights of the unknown factors, and their sum in the last price."""
        known = sum(weight * self._walks[factor].value for factor, weight in prices.weights.items() if factor in self._walks)
        unknown = {factor: weight for factor, weight in prices.weights.items() if factor not in self._walks}
        return unknown, prices.distance() - known

    def _scales(self, calendar: str, moments: Sequence[datetime], seconds: float) -> list[float]:
        """The factor of each step: volatility 1 a year for t₄, whose variance is 2."""
        full = math.sqrt(seconds / (periods_per_year(calendar, "1h") * 3600) / 2)
        calms = self._calms[calendar].path(len(moments), seconds)
        return [full * calm * (1.0 if market_open(calendar, moment) else CLOSED) for calm, moment in zip(calms, moments, strict=True)]


def _last_prices(all_prices: Sequence[Prices], factors: Set[Factor]) -> dict[str, Decimal]:
    """The last prices of the instruments that have one of these factors."""
    return {each.listing.symbol: each.last for each in all_prices if each.last is not None and not factors.isdisjoint(each.weights)}
