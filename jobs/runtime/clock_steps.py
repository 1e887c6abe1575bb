"""Steps of the system's clock: its time is compared with the monotonic clock every second."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime

log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
STEP_SECONDS = 2.0  # a smaller difference between two checks is no step: clocks are also slewed


class ClockSteps:
    """Calls `on_step` after each step of the clock. Call it from one thread.

    A suspended machine counts as a step too: its monotonic clock stands meanwhile.
    """

    def __init__(self, clock: Callable[[], datetime], monotonic: Callable[[], float], on_step: Callable[[], None]) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._on_step = on_step
        self._before = clock(), monotonic()

    def run(self, stop: threading.Event) -> None:
        """Check every second until `stop` is set."""
        while not stop.wait(CHECK_SECONDS):
            self.check()

    def check(self) -> None:
        """Compare both clocks with their readings at the last check."""
        now, ticks = self._clock(), self._monotonic()
        (before, ticks_before), self._before = self._before, (now, ticks)
        step = (now - before).total_seconds() - (ticks - ticks_before)
        if abs(step) > STEP_SECONDS:
            log.warning("the clock was set", extra={"step_seconds": round(step, 3), "time": now.isoformat(timespec="seconds")})
            self._on_step()
