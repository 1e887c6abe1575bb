"""Clients of the load generator that come and go at a rate, while the others stay."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from tests.bench.client import Client


class Visitors:
    """Opens `per_second` clients; closes each `seconds` after its subscription."""

    def __init__(self, per_second: float, seconds: float, open_one: Callable[[], Client], leave: Callable[[Client], None]) -> None:
        self._interval, self._seconds = 1 / per_second, seconds
        self._open, self._leave = open_one, leave
        self._next = time.monotonic()
        self._present: deque[tuple[float, Client]] = deque()  # (time of leaving, client), the first to leave first
        self._coming: set[Client] = set()
        self._arrived = 0

    def change(self, now: float) -> float:
        """Open and close the clients whose time has come; return the seconds until the next one."""
        while self._next <= now:
            self._next += self._interval
            self._coming.add(self._open())
        while self._present and self._present[0][0] <= now:
            self._leave(self._present.popleft()[1])
        return max(0.0, self._next - now)

    def arrived(self, client: Client) -> None:
        """Count a client that has its subscription."""
        self._arrived += 1
        self._coming.discard(client)
        self._present.append((time.monotonic() + self._seconds, client))

    def end(self) -> int:
        """Close all; return the number of clients that had a subscription."""
        for client in (*self._coming, *(client for _, client in self._present)):
            self._leave(client)
        return self._arrived
