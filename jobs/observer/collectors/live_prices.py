"""The last price of each instrument, and the rates between currencies that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from db.figures.conversion import Rates
from jobs.observer.figures.market import price_state

# Endings of crypto symbols without `_`, in the order of the search.
_QUOTES = ("USDT", "USDC", "USD", "BTC", "EUR")


@dataclass(frozen=True, slots=True)
class Quote:
    """A price of the bus; `time` is that of its source."""

    bid: Decimal
    ask: Decimal
    mid: Decimal
    time: datetime

    def is_live(self, now: datetime) -> bool:
        """Return True if the price is at most 60 s old."""
        return price_state(self.time, now, market_is_closed=False) == "live"


class LivePrices:
    """The last prices; one thread writes, any thread reads."""

    def __init__(self) -> None:
        self._quotes: dict[str, Quote] = {}  # instrument -> last price

    def put(self, instrument: str, quote: Quote) -> None:
        """Replace the price of an instrument, unless the stored one has a later time."""
        known = self._quotes.get(instrument)
        if known is None or quote.time >= known.time:
            self._quotes[instrument] = quote

    def get(self, instrument: str) -> Quote | None:
        """The last price of an instrument; None before the first one."""
        return self._quotes.get(instrument)

    def rates(self, now: datetime, parity: Mapping[str, str]) -> Rates:
        """The rates of the live prices."""
        live = {symbol: quote for symbol, quote in list(self._quotes.items()) if quote.is_live(now)}
        pairs = {pair: quote.mid for symbol, quote in live.items() if (pair := currency_pair(symbol))}
        return Rates(pairs, parity)


def currency_pair(symbol: str) -> tuple[str, str] | None:
    """Base and quote currency of a symbol: `EUR_USD`, `BTCUSDT`; None if it is no pair."""
    base, _, quote = symbol.partition("_")
    if base and quote:
        return base, quote
    for quote in _QUOTES:
        if symbol.endswith(quote) and len(symbol) > len(quote):
            return symbol.removesuffix(quote), quote
    return None
