"""Leader election: of any number of processes of a role one is active, and the others stand by."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable

from config.pacing import Outage
from db.bus import Board, BusError
from db.leadership import Leadership
from db.postgres import StoreError
from jobs.runtime.threads import LongLivedThread, ThreadEnded

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0  # between two attempts of a standby, and two checks of a leader's own lock


class Election:
    """One candidate: `act(stop)` runs while it leads, and must end soon after its `stop` is set.

    A leader continues while PostgreSQL is unavailable: ingestion does not need the store, and no
    other process can win meanwhile. If only the leader's own connection failed, another process may
    win. So each winner writes a token to the bus, and a leader without its lock steps down if it
    finds a foreign token.
    """

    def __init__(self, leadership: Leadership, bus: Board, act: Callable[[threading.Event], None], role: str) -> None:
        self._leadership = leadership
        self._bus = bus
        self._act = act
        self._role = role
        self._token = uuid.uuid4().hex
        self._standing_by = False
        self._store_outage = Outage(log, f"{role}: no election without the store", monotonic=time.monotonic)
        self._claim_outage = Outage(log, "leadership is not published on the bus", monotonic=time.monotonic)

    def run(self, stop: threading.Event) -> None:
        """Take part until `stop` is set. Raises `ThreadEnded` if `act` ended although no stop was
        requested.
        """
        while not stop.is_set():
            if self._wins():
                self._lead(stop)
            elif not self._standing_by and not self._store_outage.lasts:
                log.info("standing by: another %s process is active", self._role)
                self._standing_by = True
            stop.wait(POLL_SECONDS)
        self._leadership.resign()

    def _wins(self) -> bool:
        try:
            won = self._leadership.win()
        except StoreError as error:
            self._store_outage.failed(error)
            return False
        self._store_outage.recovered()
        return won

    def _lead(self, stop: threading.Event) -> None:
        """Act until `stop` is set or another process leads."""
        log.info("active")
        self._standing_by = False
        claimed = self._claim()
        over = threading.Event()
        failed: list[str] = []
        acting = LongLivedThread(self._act, name=self._role, stop=over, on_failure=failed.append, daemon=False)
        acting.start()
        while not stop.wait(POLL_SECONDS) and acting.is_alive():
            if not self._still_leads():
                log.warning("another %s process is active now: this one stands by", self._role)
                break
            claimed = claimed or self._claim()
        over.set()
        acting.join()
        self._leadership.resign()
        if failed:
            raise ThreadEnded(f"the active part of the {self._role} process ended although no stop was requested")

    def _claim(self) -> bool:
        try:
            self._bus.claim_leadership(self._token, self._role)
        except BusError as error:
            self._claim_outage.failed(error)
            return False
        self._claim_outage.recovered()
        return True

    def _still_leads(self) -> bool:
        try:
            return self._leadership.win()
        except StoreError:
            try:
                return self._bus.leader(self._role) in (None, self._token)
            except BusError:
                # Without bus and store, this process cannot publish or store anything.
                return True
