"""Long-lived loops: heartbeats of the loops of this process."""

from __future__ import annotations

import time
from collections.abc import Callable


class Heartbeats:
    """The monotonic time of the last round of each loop.

    Any thread may call it: each entry of a dict is replaced as a whole.
    """

    _SILENT_ROUNDS = 3

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._longest: dict[str, float] = {}  # loop -> seconds of its longest round
        self._last: dict[str, float] = {}  # loop -> monotonic time of its last round

    def expect(self, loop: str, longest_round_seconds: float) -> None:
        """Watch the loop from now on."""
        self._longest[loop] = longest_round_seconds
        self._last[loop] = self._monotonic()

    def forget(self, loop: str) -> None:
        """Stop watching a loop that has ended as expected."""
        self._longest.pop(loop, None)
        self._last.pop(loop, None)

    def beat(self, loop: str) -> None:
        """Record a round of the loop."""
        self._last[loop] = self._monotonic()

    def silent(self) -> dict[str, float]:
        """Loop -> seconds since its last round, of loops that have missed three rounds."""
        now = self._monotonic()
        ages = {loop: now - self._last.get(loop, now) for loop in list(self._longest)}
        return {loop: age for loop, age in ages.items() if age >= self._SILENT_ROUNDS * self._longest.get(loop, age)}


HEARTBEATS = Heartbeats()
