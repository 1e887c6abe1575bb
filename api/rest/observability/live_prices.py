"""Live prices: marks of positions, and rates between currencies."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import orjson

from api.rest.context import context
from db.figures.conversion import LIVE_PRICE_AGE, Rates
from db.instruments import Instrument, all_instruments
from db.timestamps import parse_time

_PAIRS = frozenset({"fx", "metal", "crypto"})  # kinds of instruments whose price is that of one currency in another


@dataclass(frozen=True, slots=True)
class LivePrice:
    """The latest price of an instrument, as decimal texts."""

    bid: str
    ask: str
    mid: str
    time: datetime

    def is_live(self, now: datetime) -> bool:
        """Return True if the price is at most 60 s old."""
        return now - self.time <= LIVE_PRICE_AGE


def latest_prices(symbols: Iterable[str] | None = None) -> dict[str, LivePrice]:
    """Return the latest price of each of the symbols that has one; None is all."""
    found = {}
    for symbol, body in context().bus.latest_prices(symbols).items():
        price = orjson.loads(body)["price"]
        found[symbol] = LivePrice(price["bid"], price["ask"], price["mid"], parse_time(price["time"]))
    return found


def rates(currencies: Collection[str], target: str) -> Rates:
    """Return the rates of live prices; none are read if all currencies are `target`."""
    app = context()
    parity = app.settings.obs_currency_parity
    if not set(currencies) - {target}:
        return Rates({}, parity)
    instruments = app.reads.read(all_instruments)
    return Rates(_prices_of_pairs(instruments, latest_prices(), app.clock()), parity)


def _prices_of_pairs(instruments: Iterable[Instrument], prices: Mapping[str, LivePrice], now: datetime) -> dict[tuple[str, str], Decimal]:
    """Return (base, quote) -> mid, of the live prices."""
    found = {}
    for each in instruments:
        price = prices.get(each.symbol)
        base = each.symbol.removesuffix(each.currency).rstrip("_")
        if each.kind in _PAIRS and price is not None and price.is_live(now) and base and base != each.symbol:
            found[base, each.currency] = Decimal(price.mid)
    return found
