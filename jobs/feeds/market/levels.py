"""First levels, volatilities, factors and spreads of the synthetic market."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from decimal import Decimal

# currency -> value of one unit in US dollars, volatility per year of that value
CURRENCIES = {
    "USD": (1.0, 0.05),
    "EUR": (1.08, 0.05),
    "CHF": (1.12, 0.05),
    "CAD": (0.735, 0.05),
    "GBP": (1.27, 0.06),
    "AUD": (0.66, 0.07),
    "NZD": (0.61, 0.07),
    "JPY": (1 / 150, 0.07),
}
OTHER_CURRENCY = (0.01, 0.07)  # so that USD_XXX begins at 100
DOLLARS = {
    "XAU": 2400.0, "XAG": 28.0, "XPT": 950.0, "XPD": 950.0,
    "BTC": 60_000.0, "ETH": 3000.0, "SOL": 140.0, "BNB": 560.0, "ADA": 0.45, "XRP": 0.52,
}  # fmt: skip
# kind -> volatility per year; that of fx follows from its currencies
VOLATILITIES = {"metal": 0.15, "index": 0.18, "equity": 0.3, "crypto": 0.6, "commodity": 0.25, "bond": 0.06, "other": 0.2}
# kind -> (market, calendar of the market, weight of the market, weight of the own factor)
MARKETS = {
    "metal": ("metal", "fx", math.sqrt(0.6), math.sqrt(0.4)),
    "index": ("equity", "equity", 0.94, 0.34),
    "equity": ("equity", "equity", 0.6, 0.8),
    "crypto": ("crypto", "crypto", 0.8, 0.6),
}
FIRST_EQUITY, LAST_EQUITY = 100, 500
FIRST_INDEX, FIRST_OTHER = 4000.0, 100.0
# kind -> basis points between bid and ask
BASIS_POINTS = {"metal": 1.5, "index": 1.0, "equity": 1.0, "crypto": 2.0}
OTHER_BASIS_POINTS = 3.0
# Smallest units (a tenth of a pip) between bid and ask of FX.
DOLLAR_PAIR_UNITS, CROSS_UNITS = 14, 25
SMALLEST_PRICE = 2  # in units: one below remains for the bid


@dataclass(frozen=True, slots=True)
class Listing:
    """The facts about an instrument on which its made-up prices depend.

    `volatility` is per year. None: that of the kind, or the first level of the kind or symbol.
    """

    symbol: str
    kind: str
    precision: int
    currency: str
    calendar: str  # fx, equity or crypto
    start_level: Decimal | None = None
    volatility: float | None = None


@dataclass(frozen=True, slots=True)
class Factor:
    """A source of movement. `volatility` is per year; of a market or an own factor it is 1."""

    name: str
    calendar: str
    volatility: float = 1.0


def loadings(listing: Listing, volatility_factor: float = 1.0) -> dict[Factor, float]:
    """Factor -> weight of its log level in the log price of the instrument.

    `volatility_factor` multiplies every volatility.
    """
    if listing.kind == "fx":
        base, quote = _currency(_base(listing), volatility_factor), _currency(_quote(listing), volatility_factor)
        return {} if base == quote else {base: 1.0, quote: -1.0}
    found: dict[Factor, float] = {}
    own, sigma = 1.0, _volatility(listing) * volatility_factor
    if listing.kind == "metal":
        money = _currency(_quote(listing), volatility_factor)
        found[money] = -1.0
        # Market and own factor have the variance that the currency leaves.
        sigma = math.sqrt(max(0.0, sigma**2 - money.volatility**2))
    if listing.kind in MARKETS:
        market, calendar, weight, own = MARKETS[listing.kind]
        found[Factor(f"market {market}", calendar)] = weight * sigma
    found[Factor(f"own {listing.symbol}", listing.calendar)] = own * sigma
    return found


def first_level(listing: Listing, seed: int | None) -> float:
    """The first price; a whole number of units only for equities without a start level."""
    if listing.start_level is not None:
        return float(listing.start_level)
    if listing.kind == "equity":
        units: int = 10**listing.precision
        chance = random.Random(f"{seed}/level/{listing.symbol}")  # noqa: S311 - a price, not a secret
        return chance.randint(FIRST_EQUITY * units, LAST_EQUITY * units) / units
    if listing.kind == "fx":
        return _dollars(_base(listing)) / _dollars(_quote(listing))
    if listing.kind in ("metal", "crypto") and (base := DOLLARS.get(_base(listing))) is not None:
        return base / CURRENCIES.get(_quote(listing), (1.0,))[0]
    return FIRST_INDEX if listing.kind == "index" else FIRST_OTHER


def sides(listing: Listing, mid: int) -> tuple[int, int]:
    """Bid and ask in units, each at least one unit from `mid`; bid is above 0.

    An odd spread has its larger half above `mid`. Both sides never fall while `mid` rises.
    """
    if listing.kind == "fx":
        spread = DOLLAR_PAIR_UNITS if "USD" in (_base(listing), _quote(listing)) else CROSS_UNITS
    else:
        spread = max(2, round(mid * BASIS_POINTS.get(listing.kind, OTHER_BASIS_POINTS) / 10_000))
    below = min(spread // 2, mid - 1)
    return mid - below, mid + spread - spread // 2


def text(units: int, precision: int) -> str:
    """A price of so many units of 10 ** -precision as decimal text."""
    whole, part = divmod(units, 10**precision)
    return f"{whole}.{part:0{precision}d}" if precision else str(whole)


def _currency(name: str, volatility_factor: float) -> Factor:
    return Factor(f"currency {name}", "fx", CURRENCIES.get(name, OTHER_CURRENCY)[1] * volatility_factor)


def _dollars(currency: str) -> float:
    return CURRENCIES.get(currency, OTHER_CURRENCY)[0]


def _volatility(listing: Listing) -> float:
    return VOLATILITIES.get(listing.kind, VOLATILITIES["other"]) if listing.volatility is None else listing.volatility


def _base(listing: Listing) -> str:
    """The part of the symbol before `_`, or before its currency."""
    base, separator, _ = listing.symbol.partition("_")
    if separator:
        return base
    for suffix in ("USDT", "USDC", "USD", listing.currency):
        if suffix and base.endswith(suffix) and base != suffix:
            return base.removesuffix(suffix)
    return base


def _quote(listing: Listing) -> str:
    return listing.symbol.partition("_")[2] or listing.currency
