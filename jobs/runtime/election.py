"""Any number of jobs processes may run; one acts. The others wait for its place."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable

from db.bus import Bus, BusError
from db.leadership import Leadership
from db.postgres import StoreError

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0  # between a standby's attempts, and between a leader's looks at its own lock


class Election:
    """One candidate: `act(stop)` runs while it leads, and ends soon after its `stop` is set.

    A leader whose PostgreSQL is away goes on: ingest does not need the store, and nobody else can win meanwhile. But a leader that is cut
    off alone would be one of two: whoever wins leaves a token on the bus, and a leader without its lock that finds another's steps down.
    """

    def __init__(self, leadership: Leadership, bus: Bus, act: Callable[[threading.Event], None]) -> None:
        self._leadership = leadership
        self._bus = bus
        self._act = act
        self._token = uuid.uuid4().hex
        self._waiting = False

    def run(self, stop: threading.Event) -> None:
        """Take part until `stop` is set. Raises nothing."""
        while not stop.is_set():
            if self._wins():
                self._lead(stop)
            elif not self._waiting:
                log.info("standing by: another jobs process is active")
                self._waiting = True
            stop.wait(POLL_SECONDS)
        self._leadership.resign()

    def _wins(self) -> bool:
        try:
            return self._leadership.win()
        except StoreError as error:
            if not self._waiting:
                log.warning("jobs wait for the store: %s", error)
                self._waiting = True
            return False

    def _lead(self, stop: threading.Event) -> None:
        """Act until `stop` is set or somebody else leads."""
        log.info("active")
        self._waiting = False
        claimed = self._claim()
        over = threading.Event()
        acting = threading.Thread(target=self._act, args=(over,), name="jobs")
        acting.start()
        while not stop.wait(POLL_SECONDS) and acting.is_alive():
            if not self._still_leads():
                log.warning("another jobs process is active now: this one stands by")
                break
            claimed = claimed or self._claim()
        over.set()
        acting.join()
        self._leadership.resign()

    def _claim(self) -> bool:
        try:
            self._bus.claim_leadership(self._token)
        except BusError as error:
            log.warning("cannot tell the bus who is active: %s", error)
            return False
        return True

    def _still_leads(self) -> bool:
        try:
            return self._leadership.win()
        except StoreError:
            try:
                return self._bus.leader() in (None, self._token)
            except BusError:
                return True  # cut off from everything: nothing can be published or stored anyway
