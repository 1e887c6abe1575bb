"""The counts of all hubs, as `server_stats` has them: read from the registry now and then."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from config.access.patterns import Patterns
from config.pacing import Outage
from db.bus import BusError, Registry
from db.timestamps import format_time
from health.hubs import HubCounts, counts_of, living_hubs
from health.timing import DEFAULT, Timing

log = logging.getLogger(__name__)

READ_SECONDS = 5.0
_SECONDS_PER_HUB = 0.5  # above 10 hubs: the reads of all hubs together stay linear in their number


class Cluster:
    """Sums over this hub and the others. `run` is its loop.

    `own()` returns the name of this hub and its part `hub`, which replaces its last report. `pause`
    lets other greenlets run.
    """

    def __init__(
        self,
        bus: Registry,
        own: Callable[[], tuple[str, Mapping[str, Any]]],
        clock: Callable[[], datetime],
        timing: Timing = DEFAULT,
        pause: Callable[[], None] = lambda: time.sleep(0),
    ) -> None:
        self._bus = bus
        self._own = own
        self._clock = clock
        self._timing = timing
        self._pause = pause
        self._outage = Outage(log, "the reports of the hubs cannot be read", monotonic=time.monotonic)
        self._counts: HubCounts | None = None
        self._as_of: datetime | None = None

    def run(self, stop: threading.Event) -> None:
        """Read the reports until `stop` is set."""
        while not stop.is_set():
            try:
                self.read()
            except BusError as error:
                self._outage.failed(error)
            except Exception:
                log.exception("a read of the reports of the hubs failed")
            else:
                self._outage.recovered()
            stop.wait(self.pause_seconds)

    @property
    def pause_seconds(self) -> float:
        """The time between two reads."""
        hubs = 1 if self._counts is None else self._counts.hubs
        return max(min(READ_SECONDS, self._timing.check), _SECONDS_PER_HUB * hubs)

    def read(self) -> None:
        """Read the reports of the other hubs. Raises `BusError`."""
        now = self._clock()
        name, part = self._own()
        others = living_hubs(self._bus, now, down_seconds=self._timing.down, pause=self._pause)
        self._counts = counts_of([part, *(each.part("hub") for each in others if each.name != name)])
        self._as_of = now

    def figures(self, patterns: Patterns) -> dict[str, Any]:
        """Return the field `cluster` as of the last read, with the instruments of these patterns.

        Before the first read it has this hub alone, and `as_of` is None.
        """
        counts = self._counts or counts_of([self._own()[1]])
        return {
            "hubs": counts.hubs,
            "connected_clients": counts.clients,
            "total_subscriptions": counts.subscriptions,
            "subscriptions_by_pair": {pair: count for pair, count in counts.pairs.items() if patterns.permits(pair)},
            "as_of": None if self._as_of is None else format_time(self._as_of),
        }
