"""Synthetic source: a made-up market with a seed, for a machine without a feed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from db.instruments import Instrument
from db.messages import Tick
from db.timestamps import format_time
from jobs.feeds.base import Source
from jobs.feeds.market.levels import Listing, sides, text
from jobs.feeds.market.model import Market


@dataclass(frozen=True, slots=True)
class MarketStep:
    """One step of the whole market, as `fetch` yields it."""

    time: datetime
    moves: tuple[tuple[Listing, int, int], ...]  # instrument, mid in its smallest units, volume


class SyntheticSource(Source[MarketStep]):
    """One price of every instrument each `interval` seconds, the first at once.

    `latest` maps an instrument to the mid price from which it continues. Other instruments start at
    their first level. `volatility` multiplies every volatility.
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
        volatility: float = 1.0,
    ) -> None:
        self._market = Market(map(listing, instruments), seed, latest=latest, volatility=volatility)
        self._latest = latest
        self._one_at_a_time = threading.Lock()
        self._interval = interval
        self._clock = clock
        self._monotonic = monotonic

    def set_instruments(self, instruments: Sequence[Instrument], latest: Mapping[str, str] | None = None) -> None:
        """Replace the instruments, from any thread. The series of the others do not change.

        A former instrument continues from its last price here; another one from `latest`, from the
        price before the start of this source, or from its first level.
        """
        known = {**self._latest, **(latest or {})}
        with self._one_at_a_time:
            self._market.set_listings(map(listing, instruments), known)

    def fetch(self, stop: threading.Event) -> Generator[MarketStep, None, None]:
        due = self._monotonic()
        while not stop.is_set():
            yield self._step()
            # After an outage of the bus the market continues from now, without catching up.
            due = max(due + self._interval, self._monotonic())
            stop.wait(due - self._monotonic())

    def parse(self, raw: MarketStep) -> list[Tick]:
        moment = format_time(raw.time)
        return [self._tick(instrument, mid, volume, moment) for instrument, mid, volume in raw.moves]

    def _step(self) -> MarketStep:
        now = self._clock()
        with self._one_at_a_time:
            paths = self._market.advance([now], self._interval)
        return MarketStep(now, tuple((path.listing, path.mids[0], path.volumes[0]) for path in paths))

    def _tick(self, instrument: Listing, mid: int, volume: int, moment: str) -> Tick:
        bid, mid_text, ask = (text(units, instrument.precision) for units in _bid_mid_ask(instrument, mid))
        return Tick(instrument.symbol, bid=bid, ask=ask, mid=mid_text, time=moment, source=self.name, volume=str(volume))


def listing(instrument: Instrument) -> Listing:
    """The facts about an instrument on which its made-up prices depend."""
    return Listing(
        instrument.symbol,
        instrument.kind,
        instrument.precision,
        instrument.currency,
        instrument.calendar,
        instrument.start_level,
        instrument.volatility,
    )


def _bid_mid_ask(instrument: Listing, mid: int) -> tuple[int, int, int]:
    bid, ask = sides(instrument, mid)
    return bid, mid, ask
