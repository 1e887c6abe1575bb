"""The publisher: the project's bus, at a steady rate or as fast as the receivers read."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from db.bus import Bus
from db.messages import Tick
from db.timestamps import format_time


class Feed:
    """A source of prices, the instruments in turn."""

    def __init__(self, bus: Bus, instruments: Sequence[str], per_beat: int, beat: float) -> None:
        self._bus = bus
        self.instruments = instruments
        self._number = 0
        self.per_beat, self.beat = per_beat, beat
        self.published = Counter[str]()  # messages by instrument

    def of(self, instruments: Sequence[str]) -> Feed:
        """Return a source of other instruments that counts its messages here."""
        feed = Feed(self._bus, instruments, self.per_beat, self.beat)
        feed.published = self.published
        return feed

    def steady(self, beats: int) -> int:
        """Publish `beats` batches, each at its scheduled time; return the number of messages."""
        start = time.monotonic()
        for beat in range(beats):
            time.sleep(max(0.0, start + beat * self.beat - time.monotonic()))
            self.publish(self.per_beat)
        return beats * self.per_beat

    def flood(self, seconds: float, window: int, arrived: Callable[[], int], most: int = 1_000_000) -> int:
        """Publish if at most half of `window` messages are in flight; return the number published.

        Ends after `seconds` or `most` messages.
        """
        end = time.monotonic() + seconds
        published = 0
        while time.monotonic() < end and published < most:
            in_flight = published - arrived()
            if in_flight > window // 2:
                time.sleep(0.0005)
                continue
            self.publish(window - in_flight)
            published += window - in_flight
        return published

    def publish(self, count: int) -> None:
        """Publish one batch like a source."""
        self.stamped(count)

    def stamped(self, count: int) -> tuple[str, str, int]:
        """Publish one batch; return instrument, epoch and seq of its last message."""
        now = format_time(datetime.now(UTC))
        ticks = [self._next(now) for _ in range(count)]
        stamp = self._bus.publish_prices(ticks)[-1]
        return ticks[-1].instrument, stamp.epoch, stamp.seq

    def _next(self, now: str) -> Tick:
        self._number += 1
        pips = self._number % 10_000
        instrument = self.instruments[self._number % len(self.instruments)]
        self.published[instrument] += 1
        return Tick(instrument, bid=f"1.0{pips:04}", ask=f"1.1{pips:04}", mid=f"1.05{pips:04}", time=now, source="bench")
