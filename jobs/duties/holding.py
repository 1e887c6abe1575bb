"""A duty that this process has won: the number of its fence, and the end of its work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from config.pacing import STOP_POLL_SECONDS
from db.bus.fence import NO_FENCE, Fence


class Holding:
    """One duty of this process, from its win to the end of its work. Any thread may use it.

    Its work ends soon after `stop` is set. `wake` is called when the bus has refused a batch.
    """

    def __init__(self, duty: str, number: int, wake: Callable[[], None] = lambda: None) -> None:
        self.duty = duty
        self.stop = threading.Event()
        self._fence = Fence(duty, number) if number else NO_FENCE
        self._stored: int | None = None
        self._wake = wake

    @property
    def fence(self) -> Fence:
        """The fence of the next batch."""
        return self._fence

    @property
    def stored(self) -> int | None:
        """The higher number for which the bus refused a batch; None if it has refused none."""
        return self._stored

    def refuse(self, fence: Fence, stored: int) -> None:
        """Note that the bus has refused a batch with this fence, because it has `stored`."""
        if fence == self._fence:
            self._stored = stored
            self._wake()

    def renew(self, number: int) -> None:
        """Continue under a higher number."""
        self._fence, self._stored = Fence(self.duty, number), None


class EveryStop(threading.Event):
    """Set if each of these events is set: the end of a work for several duties."""

    def __init__(self, stops: Sequence[threading.Event]) -> None:
        # Without `Event.__init__`: each call goes to the others.
        self._stops = stops

    def is_set(self) -> bool:
        """Return True if a stop was requested for each of them."""
        return all(stop.is_set() for stop in self._stops)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most `timeout` seconds; return True if each is set."""
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        for stop in self._stops:
            while not stop.is_set() and (left := deadline - time.monotonic()) > 0:
                stop.wait(min(STOP_POLL_SECONDS, left))
        return self.is_set()
