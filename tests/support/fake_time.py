"""A clock that moves only during a wait."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta


class FakeTime(threading.Event):
    """A stop event whose waits take no time, and its clocks.

    The event sets itself when `until` seconds have passed on these clocks.
    """

    def __init__(self, until: float = float("inf")) -> None:
        super().__init__()
        self.now = 0.0
        self.until = until
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None, "a wait has no timeout"
        self.waits.append(timeout)
        self.now += max(0.0, timeout)
        if self.now >= self.until:
            self.set()
        return self.is_set()

    def monotonic(self) -> float:
        return self.now

    def utc(self) -> datetime:
        return datetime(2025, 11, 18, tzinfo=UTC) + timedelta(seconds=self.now)
