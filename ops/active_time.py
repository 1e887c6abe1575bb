"""The time of a loop without the pauses of its process."""

from __future__ import annotations

from collections.abc import Callable

LONGEST_STEP_SECONDS = 3.0  # a check of readiness takes up to this time


class ActiveTime:
    """A clock in seconds that counts at most `LONGEST_STEP_SECONDS` from one call to the next.

    A process that was stopped (Ctrl-Z, a debugger, a frozen container) goes on with its timers as
    if the pause had not been. Call it in each round.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._last = monotonic()
        self._active = 0.0

    def __call__(self) -> float:
        now = self._monotonic()
        self._active += min(LONGEST_STEP_SECONDS, now - self._last)
        self._last = now
        return self._active
