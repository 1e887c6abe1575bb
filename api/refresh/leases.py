"""Writes the leases of a hub's connections to Redis, and reads those of the other hubs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from api.access.connections import LEASE_SECONDS, RENEWAL_SECONDS, ConnectionCounts, LeaseChange
from api.access.limits import stored_name
from api.errors import Refusal
from config.pacing import Outage, Throttle
from db.bus import BusError, LeaseAnswer, LeaseRequest

log = logging.getLogger(__name__)

ROUND_SECONDS = 0.1  # after which a new connection has its lease
POLL_SECONDS = 1.0  # between two looks at the clock while no connection begins or ends
RETRY_SECONDS = 1.0  # after a failure


class LeaseBus(Protocol):
    """The part of the bus for leases. Raises `BusError`."""

    def change_leases(self, requests: Sequence[LeaseRequest], life_seconds: float) -> list[LeaseAnswer]:
        """Make the changes of each caller."""


class LeaseLoop:
    """Keeps the leases of one hub. One greenlet calls `run`.

    `hub` is a name that no other hub has. `surplus` ends a session that found no place, because
    another hub took the last one at the same time. While Redis is away, each hub counts its own
    connections.
    """

    def __init__(
        self,
        bus: LeaseBus,
        connections: ConnectionCounts,
        hub: str,
        surplus: Callable[[str, Refusal], None],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._connections = connections
        self._changed = threading.Event()  # a connection has begun or ended since the last round
        connections.on_change = self._changed.set
        self._prefix = f"{hub}:"
        self._surplus = surplus
        self._monotonic = monotonic
        self._renewal = float("-inf")  # time of the next one
        self._outage = Outage(log, "connections are counted by each hub for itself", monotonic=monotonic)
        self._failures = Throttle(monotonic=monotonic)

    def run(self, stop: threading.Event) -> None:
        """Write changes until `stop` is set."""
        while not stop.is_set():
            until_renewal = max(0.0, self._renewal - self._monotonic())
            if self._changed.wait(min(POLL_SECONDS, until_renewal)):
                stop.wait(ROUND_SECONDS)  # all changes of this time share one round trip
                self._changed.clear()
            try:
                self.write()
            except BusError as error:
                self._outage.failed(error)
                self._connections.note_failure()
                self._renewal = self._monotonic() + RETRY_SECONDS
            except Exception:
                if count := self._failures.due("round"):
                    log.exception("leases of connections were not written", extra={"count": count})

    def release(self) -> None:
        """Return the places of ended sessions when the hub stops, so that they are free at once."""
        try:
            self.write()
        except BusError as error:
            log.info("leases of connections stay until they expire", extra={"reason": str(error)})

    def write(self) -> None:
        """Write all changes, and renew all leases if that is due. Raises `BusError`."""
        now = self._monotonic()
        if renew := now >= self._renewal:
            self._renewal = now + RENEWAL_SECONDS
        changes = self._connections.take_changes(renew=renew)
        if not changes:
            return
        answers = self._bus.change_leases([self._request(each) for each in changes], LEASE_SECONDS)
        self._outage.recovered()
        for change, answer in zip(changes, answers, strict=True):
            self._connections.note(change, [now + left for left in answer.others])
            for member in answer.refused:
                session = member.removeprefix(self._prefix)
                self._surplus(session, self._connections.surplus(change, session))

    def _request(self, change: LeaseChange) -> LeaseRequest:
        keep, add, remove = ([self._prefix + each for each in names] for names in (change.keep, change.add, change.remove))
        return LeaseRequest(stored_name(change.caller), change.limit, self._prefix, keep, add, remove)
