"""The publisher: the project's own bus, at a steady beat or as fast as the receivers take it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from db.bus import Bus
from db.messages import Tick
from db.timestamps import format_time


class Feed:
    """Prices of instruments in turns."""

    def __init__(self, bus: Bus, instruments: Sequence[str], per_beat: int, beat: float) -> None:
        self._bus = bus
        self._instruments = instruments
        self._number = 0
        self.per_beat, self.beat = per_beat, beat

    def steady(self, beats: int) -> int:
        """Publish that many beats, each at its time whatever the one before took; how many messages that were."""
        start = time.monotonic()
        for beat in range(beats):
            time.sleep(max(0.0, start + beat * self.beat - time.monotonic()))
            self.publish(self.per_beat)
        return beats * self.per_beat

    def flood(self, seconds: float, window: int, arrived: Callable[[], int], most: int = 1_000_000) -> int:
        """Publish whenever less than half of `window` messages are under way, for so long, or `most`; how many messages that were."""
        end = time.monotonic() + seconds
        published = 0
        while time.monotonic() < end and published < most:
            under_way = published - arrived()
            if under_way > window // 2:
                time.sleep(0.0005)
                continue
            self.publish(window - under_way)
            published += window - under_way
        return published

    def publish(self, count: int) -> None:
        """One batch, as a source publishes it."""
        now = format_time(datetime.now(UTC))
        self._bus.publish_prices([self._next(now) for _ in range(count)])

    def _next(self, now: str) -> Tick:
        self._number += 1
        pips = self._number % 10_000
        instrument = self._instruments[self._number % len(self._instruments)]
        return Tick(instrument, bid=f"1.0{pips:04}", ask=f"1.1{pips:04}", mid=f"1.05{pips:04}", time=now, source="bench")
