"""The end of a stream's connection: a stop of its source, or a change of its instruments."""

from __future__ import annotations

import threading
import time

from config.pacing import STOP_POLL_SECONDS


class Renewal(threading.Event):
    """Set if `stop` is set, or after `ask`: the connection ends, and the next one may begin.

    `begin(stop)` starts the wait of one connection. Any thread may call `ask`.
    """

    def __init__(self) -> None:
        # Without `Event.__init__`: each call goes to one of these two.
        self._stop = threading.Event()
        self._asked = threading.Event()

    def begin(self, stop: threading.Event) -> None:
        """Begin a connection. Read the instruments after this call, so that no change is lost."""
        self._stop = stop
        self._asked.clear()

    def ask(self) -> None:
        """End the present connection."""
        self._asked.set()

    def is_set(self) -> bool:
        """Return True if the connection must end."""
        return self._asked.is_set() or self._stop.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most `timeout` seconds; return True if the connection must end."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            left = STOP_POLL_SECONDS if deadline is None else min(STOP_POLL_SECONDS, deadline - time.monotonic())
            if left <= 0:
                return False
            self._stop.wait(left)
        return True
