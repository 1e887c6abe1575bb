"""The drain of the hub: it refuses new sessions, then closes its connections in slices."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1  # between two slices
FLUSH_SECONDS = 5.0  # for the last bytes of one connection
SPREAD_SECONDS = 4.0  # over which the closed clients return at least, if they return as told


class Connections(Protocol):
    """The connections of the hub, of any kind."""

    def open(self) -> Sequence[Any]:
        """Return the open connections."""

    def warn(self, connection: Any, retry_after: float) -> None:
        """Send the error `unavailable`. Messages that wait before it are still sent."""

    def is_flushed(self, connection: Any) -> bool:
        """Return True if nothing waits for the client."""

    def close(self, connection: Any) -> None:
        """Close the connection, unless it has ended."""


class Drain:
    """Empties the hub once, after `begin`.

    Slices begin `delay` seconds after it, and take `seconds`; both end early if no connection is
    left. Each connection receives `retry_after`, in seconds. `last` is called before the last
    slice. `start` runs a function in a greenlet or thread. `now` is a monotonic clock.
    """

    def __init__(
        self,
        connections: Connections,
        *,
        delay: float,
        seconds: float,
        start: Callable[[Callable[[], None]], Any],
        last: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connections = connections
        self._delay = delay
        self._seconds = seconds
        self._last = last
        self._start = start
        self._now = now
        self._sleep = sleep
        self._leaving: dict[Any, float] = {}  # warned connection -> latest time of its close
        self.begun = False
        self._ended = threading.Event()

    def begin(self) -> None:
        """Refuse new sessions from now on, and start the drain, unless it has begun."""
        if not self.begun:
            self.begun = True
            self._start(self._run)

    def hasten(self) -> None:
        """Leave no time for the delay and the slices, also if they have begun."""
        self._delay = self._seconds = 0.0

    def finish(self) -> None:
        """Begin if that was not done, and wait until the drain has ended."""
        self.begin()
        self._ended.wait(self._delay + self._seconds + FLUSH_SECONDS + 1.0)

    def _run(self) -> None:
        log.info("hub drains", extra={"connections": len(self._connections.open()), "seconds": self._seconds})
        try:
            begun = self._now()
            while self._now() - begun < self._delay and self._connections.open():
                self._sleep(POLL_SECONDS)
            self._empty()
        finally:
            self._ended.set()

    def _empty(self) -> None:
        """Close all connections, evenly over the time."""
        begun, total, last = self._now(), len(self._connections.open()), False
        while connections := self._connections.open():
            passed = self._now() - begun
            left = [each for each in connections if each not in self._leaving]
            if passed < self._seconds:
                left = left[: max(0, int(total * passed / self._seconds) - (total - len(left)))]
            elif not last:
                self._last()
                last = True
            self._warn(left)
            self._close_flushed()
            if self._connections.open():
                self._sleep(POLL_SECONDS)

    def _warn(self, connections: Sequence[Any]) -> None:
        latest = self._now() + FLUSH_SECONDS
        for each in connections:
            self._connections.warn(each, self.retry_after())
            self._leaving[each] = latest

    def _close_flushed(self) -> None:
        now = self._now()
        for each, latest in list(self._leaving.items()):
            if now >= latest or self._connections.is_flushed(each):
                del self._leaving[each]
                self._connections.close(each)

    def retry_after(self) -> float:
        """Return the seconds after which a closed client may return.

        Slices spread the clients; the shorter they are, the larger is the random part.
        """
        return round(random.uniform(1.0, 1.0 + max(0.0, SPREAD_SECONDS - self._seconds)), 2)  # noqa: S311
