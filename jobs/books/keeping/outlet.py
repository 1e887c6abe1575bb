"""The bus as the books use it: a failed publish is noted and never raised."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from config.pacing import Outage
from db.book_bodies import BookMessage
from db.bus import BusError
from db.bus.books import Books

log = logging.getLogger("jobs.books")

PAUSE_SECONDS = 0.5  # after a failure, without an attempt: each may wait for the timeout of the bus
MAX_WAITING_STATES = 1_000


class Outlet:
    """Publishes states and books in their order. One thread uses it.

    After a failure it is unknown whether the messages were published. `epochs` counts the changes
    of the epoch: then Redis has lost its data, and each topic needs a snapshot.
    """

    def __init__(self, bus: Books, *, monotonic: Callable[[], float], wait: Callable[[float], object]) -> None:
        self._bus = bus
        self._monotonic = monotonic
        self._wait = wait
        self._states: deque[Mapping[str, object]] = deque(maxlen=MAX_WAITING_STATES)  # oldest first
        self._outage = Outage(log, "books are not published", monotonic=monotonic)
        self._blocked_until = float("-inf")
        self._epoch: str | None = None
        self.epochs = 0

    @property
    def is_open(self) -> bool:
        """False in the pause after a failure."""
        return self._monotonic() >= self._blocked_until

    def wait(self, seconds: float) -> None:
        """Wait: a publish is slow."""
        if seconds > 0:
            self._wait(seconds)

    def publish_books(self, messages: Sequence[BookMessage]) -> bool:
        """Publish messages of one book; return False if that failed."""
        return self.flush() and self._try(lambda: self._note_epoch(self._bus.publish_books(messages)[0].epoch))

    def publish_state(self, body: Mapping[str, object]) -> None:
        """Publish a `book_state`, or keep it until the bus works: none is lost."""
        self._states.append(body)
        self.flush()

    def flush(self) -> bool:
        """Publish the states that wait; return False if the bus does not work."""
        if not self.is_open:
            return False
        while self._states:
            if not self._try(lambda: self._note_epoch(self._bus.publish_book_state(self._states[0]).epoch)):
                return False
            self._states.popleft()
        return True

    def put_rows(self, rows: Mapping[str, Mapping[str, Any]], *, whole: bool) -> bool:
        """Set the rows of the books; return False if that failed."""
        return self.is_open and self._try(lambda: self._bus.put_books(rows, whole=whole))

    def publish_scenario_change(self, body: Mapping[str, object]) -> bool:
        """Publish that a scenario runs; return False if that failed."""
        return self.is_open and self._try(lambda: self._bus.publish_scenario_change(body))

    def _try(self, call: Callable[[], object]) -> bool:
        try:
            call()
        except BusError as error:
            self._outage.failed(error)
            self._blocked_until = self._monotonic() + PAUSE_SECONDS
            return False
        self._outage.recovered()
        return True

    def _note_epoch(self, epoch: str) -> None:
        if self._epoch is not None and epoch != self._epoch:
            self.epochs += 1
        self._epoch = epoch
