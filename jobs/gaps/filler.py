"""Gap fillers: one thread for each source with a history.

Fillers compare the store with the history and ignore the live stream. So one method covers all
causes of a gap: a lost connection, a start after a day, a kill, a dropped buffer, ids that the
exchange skipped. Live prices never wait for them. `docs/adr/0011-gaps-are-found-in-the-store.md`
has the reasons.
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
from jobs.measures.backlog import WriterBacklog

log = logging.getLogger(__name__)

GAP_CHECK_SECONDS = 60.0  # between two rounds without an event
YIELD_SECONDS = 30.0  # from one round to the next while a writer is behind


class Filling(Protocol):
    """The gaps of one source; see `jobs.gaps.trades` and `jobs.gaps.candles`."""

    def round(self, reconnected: bool, stop: threading.Event) -> bool:
        """Find and fill gaps once; return True if more is left to do at once.

        Work that was due and failed is due in the next round. Raises `SourceError`, `StoreError`,
        `BusError` or `Stopped`.
        """


class GapFiller:
    """Runs rounds of one filling.

    A round follows the start, each `source_event`, every `period` seconds, and sooner after a
    failure. While a writer of this process is behind, a round that is due begins at most
    `YIELD_SECONDS` after the begin of the previous one.
    """

    def __init__(
        self,
        name: str,
        filling: Filling,
        source_event: threading.Event,
        *,
        period: float = GAP_CHECK_SECONDS,
        jitter: Callable[[], float] = random.random,
        monotonic: Callable[[], float] = time.monotonic,
        backlog: WriterBacklog | None = None,
    ) -> None:
        self.name = name
        self._filling = filling
        self._source_event = source_event
        self._period = period
        self._jitter = jitter
        self._monotonic = monotonic
        self._backlog = backlog or WriterBacklog()
        self._outage = Outage(log, "gap filling waits", monotonic=monotonic, source=name)

    def run(self, stop: threading.Event) -> None:
        """Fill until `stop` is set. Raises nothing."""
        reconnected = True
        while not stop.is_set():
            begun = self._monotonic()
            try:
                pause = 0.0 if self._filling.round(reconnected, stop) else self._period
                self._outage.recovered()
            except Stopped:
                return
            except Exception as error:
                if not isinstance(error, SourceError | StoreError | BusError):
                    log.exception("gap filling failed and is repeated", extra={"source": self.name})
                pause = self._pause_after(error)
            reconnected = self._wait(pause, stop, begun + YIELD_SECONDS)

    def _pause_after(self, error: Exception) -> float:
        """Count the failure; return the seconds until the next round."""
        self._outage.failed(error)
        if isinstance(error, SourceError) and error.fatal:
            return self._period
        return min(self._period, retry_delay(self._outage.failures, self._jitter()))

    def _wait(self, seconds: float, stop: threading.Event, postponed: float) -> bool:
        """Wait until the source's event or `stop` is set, at most `seconds`, then until the time
        `postponed` at most while a writer is behind; return True after an event.
        """
        deadline = self._monotonic() + seconds
        while not stop.is_set() and not self._source_event.is_set() and (left := deadline - self._monotonic()) > 0:
            self._source_event.wait(min(STOP_POLL_SECONDS, left))
        self._backlog.postpone(stop, postponed, self._monotonic)
        rang = self._source_event.is_set()
        self._source_event.clear()
        return rang
