"""Figures of the market: mid, spread, averages of prices, age of a price. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal, NamedTuple

from db.figures.conversion import LIVE_PRICE_AGE
from db.figures.positions import ZERO
from jobs.observer.figures.execution import BASIS_POINTS


def mid(bid: Decimal | None, ask: Decimal | None) -> Decimal | None:
    """(bid + ask) / 2; None if one is missing."""
    return None if bid is None or ask is None else (bid + ask) / 2


def spread_bps(bid: Decimal | None, ask: Decimal | None) -> float | None:
    """(ask - bid) / mid·10⁴; negative for a crossed book. None if a price or the mid is missing."""
    middle = mid(bid, ask)
    if bid is None or ask is None or not middle:
        return None
    return float((ask - bid) / middle * BASIS_POINTS) + 0.0


def price_state(time: datetime | None, now: datetime, *, market_is_closed: bool) -> Literal["live", "stale", "closed"]:
    """ "live" if the price is at most 60 s old, "closed" if the market is closed, else "stale".

    `time` is the source's time of the price, None if there was none.
    """
    if time is not None and now - time <= LIVE_PRICE_AGE:
        return "live"
    return "closed" if market_is_closed else "stale"


class TradeSums(NamedTuple):
    """Exchange trades of a period, for example the UTC day so far. Periods add up."""

    trades: int = 0
    volume: Decimal = ZERO  # Σ v
    value: Decimal = ZERO  # Σ p·v

    def after(self, price: Decimal, volume: Decimal) -> TradeSums:
        """The sums with one more trade."""
        return TradeSums(self.trades + 1, self.volume + volume, self.value + price * volume)

    def plus(self, other: TradeSums) -> TradeSums:
        """The sums of both periods."""
        return TradeSums(self.trades + other.trades, self.volume + other.volume, self.value + other.value)

    @property
    def vwap(self) -> Decimal | None:
        """Σ p·v / Σ v; None without trades."""
        return self.value / self.volume if self.volume else None


class TimeWeighted(NamedTuple):
    """Average of a price weighted by the time that it was valid (`twap`).

    `area` is Σ price·seconds up to `time`, since `start`; `price` is valid from `time` on.
    """

    start: datetime
    time: datetime
    price: Decimal
    area: Decimal = ZERO

    @classmethod
    def begin(cls, time: datetime, price: Decimal) -> TimeWeighted:
        """The average that begins with this price."""
        return cls(time, time, price)

    def after(self, time: datetime, price: Decimal) -> TimeWeighted:
        """The average with the next price; an older price than the last one is ignored."""
        if time < self.time:
            return self
        return TimeWeighted(self.start, time, price, self.area + self.price * _seconds(time - self.time))

    def twap(self, now: datetime) -> Decimal:
        """The average from `start` to `now`; the last price before any time has passed."""
        until = max(now, self.time)
        elapsed = _seconds(until - self.start)
        return (self.area + self.price * _seconds(until - self.time)) / elapsed if elapsed else self.price


def _seconds(duration: timedelta) -> Decimal:
    return Decimal(duration // timedelta(microseconds=1)).scaleb(-6)
