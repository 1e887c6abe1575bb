"""The lag of the event loop, in seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable

from config.metrics import LAG_BUCKETS
from db.measures import Lags

TIMER_SECONDS = 0.1


class LoopLag:
    """Measures by how much a timer of the event loop is late: a callback that blocks delays it.

    `monotonic` is a clock in seconds; `sleep(seconds)` lets other greenlets run.
    """

    def __init__(self, monotonic: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self.lags = Lags(LAG_BUCKETS)
        self._monotonic = monotonic
        self._sleep = sleep

    def run(self, stop: threading.Event) -> None:
        """Measure until `stop` is set."""
        while not stop.is_set():
            due = self._monotonic() + TIMER_SECONDS
            self._sleep(TIMER_SECONDS)
            self.lags.observe(self._monotonic() - due)
