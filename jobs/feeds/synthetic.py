"""Synthetic source: a seeded random walk of every instrument, for a machine without a feed."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal, InvalidOperation

from db.instruments import Instrument
from db.messages import Tick
from db.timestamps import format_time
from jobs.feeds.base import Source

LARGEST_MOVE = Decimal("0.02")
SMALLEST_VOLUME, LARGEST_VOLUME = 1_000, 100_000
FIRST_EQUITY, LAST_EQUITY = Decimal(100), Decimal(500)
# A walk of ±2 % every few seconds moves by a factor of several a day: it turns back at half or
# double its level.
ROOM = Decimal(2)

# Value of one unit in US dollars, about 2025. The level of an FX pair is the ratio of its two
# values.
_DOLLARS = {
    "EUR": "1.16", "GBP": "1.32", "USD": "1", "JPY": "0.0065", "CHF": "1.24", "AUD": "0.65", "CAD": "0.71", "NZD": "0.565",
    "BTC": "95000", "ETH": "3100", "SOL": "140", "BNB": "920", "ADA": "0.48", "XRP": "2.2",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class WalkStep:
    """One move of the whole market, as `fetch` yields it."""

    time: datetime
    moves: tuple[tuple[Instrument, Decimal, int], ...]  # instrument, mid, volume


class Walk:
    """The walk of one instrument; pure except for its random numbers and its last price.

    The series depends only on the seed, the symbol and the price from which it continues; not on
    the clock, not on other instruments. So a fresh start with a seed always gives the same series.
    A restart continues from the last price and does not repeat earlier moves. Without a seed, every
    run differs.
    """

    def __init__(self, instrument: Instrument, seed: int | None, last: str | None = None) -> None:
        self._unit = Decimal(1).scaleb(-instrument.precision)
        self._last = _usable(last, self._unit)
        start = "" if self._last is None else f"{self._last.normalize():f}"
        key = None if seed is None else f"{seed}/{instrument.symbol}/{start}"
        self._random = random.Random(key)  # noqa: S311 - a walk, not a secret
        self._low, self._high = _range(instrument, self._last)
        self._instrument = instrument

    def step(self) -> tuple[Decimal, int]:
        """The next mid price, a whole number of the instrument's smallest units, and volume."""
        self._last = self._first() if self._last is None else self._moved(self._last)
        return self._last, self._random.randint(SMALLEST_VOLUME, LARGEST_VOLUME)

    def _first(self) -> Decimal:
        if self._instrument.kind != "equity":
            # 2 % of 50 units is one unit: a smaller price could not move.
            return max(_rounded(level(self._instrument) or Decimal(1), self._unit), 50 * self._unit)
        span = int((LAST_EQUITY - FIRST_EQUITY) / self._unit)
        return FIRST_EQUITY + self._random.randint(0, span) * self._unit

    def _moved(self, last: Decimal) -> Decimal:
        """`last` times a factor uniform within ±2 %, rounded to the unit but never beyond ±2 %."""
        move = LARGEST_MOVE * self._random.randint(-(10**9), 10**9) / 10**9
        target = last * (1 + move)
        if (move < 0 and target < self._low) or (move > 0 and target > self._high):
            target = last * (1 - move)
        lowest = (last * (1 - LARGEST_MOVE)).quantize(self._unit, ROUND_CEILING)
        highest = (last * (1 + LARGEST_MOVE)).quantize(self._unit, ROUND_FLOOR)
        if lowest > highest:  # 2 % of the price is less than a unit
            return _rounded(last, self._unit)
        return min(max(_rounded(target, self._unit), lowest), highest)


class SyntheticSource(Source[WalkStep]):
    """One price of every instrument each `interval` seconds, the first at once.

    `latest` maps an instrument to the mid price from which it continues. Other instruments start at
    their level.
    """

    name = "synthetic"

    def __init__(
        self,
        instruments: Sequence[Instrument],
        *,
        interval: float,
        seed: int | None,
        latest: Mapping[str, str],
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._walks = [(instrument, Walk(instrument, seed, latest.get(instrument.symbol))) for instrument in instruments]
        self._seed = seed
        self._interval = interval
        self._clock = clock
        self._monotonic = monotonic

    def set_instruments(self, instruments: Sequence[Instrument], latest: Mapping[str, str] | None = None) -> None:
        """Replace the instruments; those that stay go on with their walks."""
        walks = {instrument.symbol: walk for instrument, walk in self._walks}
        before = latest or {}
        self._walks = [(each, walks.get(each.symbol) or Walk(each, self._seed, before.get(each.symbol))) for each in instruments]

    def fetch(self, stop: threading.Event) -> Generator[WalkStep, None, None]:
        due = self._monotonic()
        while not stop.is_set():
            yield WalkStep(self._clock(), tuple((instrument, *walk.step()) for instrument, walk in self._walks))
            # After an outage of the bus the walk continues from now, without catching up.
            due = max(due + self._interval, self._monotonic())
            stop.wait(due - self._monotonic())

    def parse(self, raw: WalkStep) -> list[Tick]:
        moment = format_time(raw.time)
        return [self._tick(instrument, mid, volume, moment) for instrument, mid, volume in raw.moves]

    def _tick(self, instrument: Instrument, mid: Decimal, volume: int, moment: str) -> Tick:
        half = half_spread(instrument, mid)
        bid, ask = f"{mid - half:f}", f"{mid + half:f}"
        return Tick(instrument.symbol, bid=bid, ask=ask, mid=f"{mid:f}", time=moment, source=self.name, volume=str(volume))


def level(instrument: Instrument) -> Decimal | None:
    """A realistic price of an FX pair or a cryptocurrency; None if the symbol is unknown."""
    base, _, quote = instrument.symbol.partition("_")
    if instrument.kind == "crypto":
        base, quote = instrument.symbol.replace("_", "").removesuffix("USDT"), "USD"
    if base not in _DOLLARS or quote not in _DOLLARS:
        return None
    return Decimal(_DOLLARS[base]) / Decimal(_DOLLARS[quote])


def half_spread(instrument: Instrument, mid: Decimal) -> Decimal:
    """Distance from mid to bid and ask, in whole units and at least one: 0 < bid < mid < ask.

    FX has a spread of 1.4 pips (a pip is ten units), crypto 2 basis points, equities one cent, or
    one cent on each side if that is the unit.
    """
    unit = Decimal(1).scaleb(-instrument.precision)
    wanted = {"fx": 7 * unit, "crypto": mid / 10_000}.get(instrument.kind, Decimal("0.005"))
    return max(unit, min(wanted.quantize(unit, ROUND_HALF_UP), mid - unit))


def _range(instrument: Instrument, last: Decimal | None) -> tuple[Decimal, Decimal]:
    """The prices at which the walk turns back; a `last` price beyond extends the range."""
    if instrument.kind == "equity":
        low, high = FIRST_EQUITY / ROOM, LAST_EQUITY * ROOM
    else:
        middle = level(instrument) or last or Decimal(1)
        low, high = middle / ROOM, middle * ROOM
    return (low, high) if last is None else (min(low, last), max(high, last))


def _rounded(price: Decimal, unit: Decimal) -> Decimal:
    return price.quantize(unit, ROUND_HALF_EVEN)


def _usable(text: str | None, unit: Decimal) -> Decimal | None:
    """The price from which the walk continues; None if it leaves no room for a bid above 0."""
    try:
        price = Decimal(text or "nan")
        return price if price.is_finite() and _rounded(price, unit) >= 2 * unit else None
    except InvalidOperation:
        return None
