"""Connections of a source, one after another: their end on request, and their restart after a
failure.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from config.pacing import STOP_POLL_SECONDS, StopSignal
from jobs.feeds.base import LONGEST_DELAY, SourceError, State, as_source_error, retry_delay
from jobs.feeds.status import Status
from jobs.measures.sources import FATAL, TRANSIENT

Stop = TypeVar("Stop", bound=StopSignal)

log = logging.getLogger(__name__)


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


class Restarts:
    """Runs a source again after each transient failure, with growing delays.

    After more than `max_attempts` failures in a row the source is down, and is tried again at the
    longest delay. `jitter` returns a random number in [0, 1].
    """

    def __init__(self, status: Status, *, max_attempts: int, jitter: Callable[[], float] = random.random) -> None:
        self._status = status
        self._max_attempts = max_attempts
        self._jitter = jitter
        self._failures = 0  # in a row

    def succeeded(self) -> None:
        """Note that the source gives records: the next failure is the first one."""
        if self._failures:
            self._status.counts.reconnects.add(self._status.name)
        self._failures = 0

    def run(self, drain: Callable[[Stop], None], stop: Stop) -> None:
        """Call `drain(stop)` until it returns, fails for good, or `stop` is set. Raises nothing."""
        while not stop.is_set():
            try:
                if self._status.state is not State.DOWN:
                    self._status.change(State.CONNECTING)
                drain(stop)
                if not stop.is_set():
                    self._status.change(State.ENDED)
                return
            except Exception as error:
                if not isinstance(error, SourceError):
                    log.exception("source failed unexpectedly", extra={"source": self._status.name})
                failure = as_source_error(error)
            self._status.counts.errors.add(self._status.name, FATAL if failure.fatal else TRANSIENT)
            if failure.fatal:
                self._status.change(State.DOWN, str(failure), server_text=failure.server_text)
                return
            stop.wait(self._delay_after(failure))

    def _delay_after(self, failure: SourceError) -> float:
        """Note a transient failure; return the seconds until the next attempt."""
        self._failures += 1
        if self._failures > self._max_attempts:
            self._status.change(State.DOWN, str(failure), server_text=failure.server_text)
            return max(LONGEST_DELAY, failure.retry_after or 0.0)
        self._status.change(State.BACKING_OFF, str(failure), server_text=failure.server_text)
        return max(retry_delay(self._failures, self._jitter()), failure.retry_after or 0.0)
