"""Keeping the store whole: one filler for each source that has a history, each in a thread of its own.

Fillers look at the store, never at the live stream, so that one way serves whatever tore the hole: a lost link, a start after a day, a
kill, a dropped buffer, ids that the exchange skipped. Live prices never wait for them. The reasons are in
`docs/adr/0011-gaps-are-filled-from-the-store.md`.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Protocol

from config.pacing import STOP_POLL_SECONDS, Outage, Stopped
from db.bus import BusError
from db.postgres import StoreError
from jobs.feeds.base import SourceError, retry_delay

log = logging.getLogger(__name__)

GAP_CHECK_SECONDS = 60.0  # seconds between looks while nothing happens


class Filling(Protocol):
    """What one source lacks: `jobs.gaps.trades`, `jobs.gaps.candles`."""

    def round(self, reconnected: bool, stop: threading.Event) -> bool:
        """Look and fill once; whether there is more to do at once. Raises `SourceError`, `StoreError`, `BusError` or `Stopped`.

        What was due and failed is due the next time.
        """


class GapFiller:
    """Runs one filling: at the start, whenever `source_event` rings, every `period` seconds, and sooner where something failed."""

    def __init__(
        self,
        name: str,
        filling: Filling,
        source_event: threading.Event,
        *,
        period: float = GAP_CHECK_SECONDS,
        jitter: Callable[[], float] = random.random,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._filling = filling
        self._source_event = source_event
        self._period = period
        self._jitter = jitter
        self._monotonic = monotonic
        self._outage = Outage(log, "gap filling waits", monotonic=monotonic, source=name)

    def run(self, stop: threading.Event) -> None:
        """Fill until `stop` is set. Raises nothing."""
        reconnected = True
        while not stop.is_set():
            try:
                pause = 0.0 if self._filling.round(reconnected, stop) else self._period
                self._outage.recovered()
            except Stopped:
                return
            except Exception as error:
                if not isinstance(error, SourceError | StoreError | BusError):
                    log.exception("gap filling failed, tries again", extra={"source": self.name})
                pause = self._pause_after(error)
            reconnected = self._wait(pause, stop)

    def _pause_after(self, error: Exception) -> float:
        """Count the failure; the seconds until the next round."""
        self._outage.failed(error)
        if isinstance(error, SourceError) and error.fatal:
            return self._period
        return min(self._period, retry_delay(self._outage.failures, self._jitter()))

    def _wait(self, seconds: float, stop: threading.Event) -> bool:
        """Wait, at most until the source_event rings or `stop` is set; whether it rang."""
        deadline = self._monotonic() + seconds
        while not stop.is_set() and not self._source_event.is_set() and (left := deadline - self._monotonic()) > 0:
            self._source_event.wait(min(STOP_POLL_SECONDS, left))
        rang = self._source_event.is_set()
        self._source_event.clear()
        return rang
