"""The ends of rights in time: one heap for all clients, which the clock of the hub reads. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from api.access.model import Access
from api.hub.clients import Client, Clients

NOTICE = timedelta(seconds=60)  # before the expiry
NOTICE_SHARE = 0.8  # of a life that is shorter than `NOTICE`
_NO_TIME = timedelta()
_ENTRIES_PER_TURN = 100  # that are handled before other greenlets run
_MIN_STALE = 1_000  # entries of earlier rights that are kept until their time


class _Entry(NamedTuple):
    at: datetime
    number: int  # entries of one time are in the order of their arrival
    client: str
    access: Access
    ends: bool  # False: a notice is due


class Expiries:
    """Calls `notify` before the rights of a client expire, and `end` when they have.

    `clock` returns aware UTC. An entry counts while its client has the same rights. `pause` lets
    other greenlets run.
    """

    def __init__(
        self, clients: Clients, clock: Callable[[], datetime], notify: Callable[[Client, datetime], None], end: Callable[[Client], None]
    ) -> None:
        self._clients = clients
        self._clock = clock
        self._notify = notify
        self._end = end
        self._heap: list[_Entry] = []
        self._number = 0

    def watch(self, client: Client) -> None:
        """Begin to watch the present rights of a client."""
        access = client.access
        if access.expires_at is None or access.ends_at is None:
            return
        now = self._clock()
        left = access.expires_at - now
        if left > NOTICE:
            self._push(access.expires_at - NOTICE, client, ends=False)
        elif left > _NO_TIME:
            self._push(now + left * NOTICE_SHARE, client, ends=False)
        else:
            self._push(access.ends_at, client, ends=True)
        if len(self._heap) > _MIN_STALE + 4 * len(self._clients):  # new tokens leave entries of the old ones
            self._heap = [entry for entry in self._heap if self._is_valid(entry)]
            heapify(self._heap)

    def tick(self, pause: Callable[[], None]) -> None:
        """Handle the entries that are due. The clock of the hub calls it about once a second."""
        now, handled = self._clock(), 0
        while self._heap and self._heap[0].at <= now:
            entry = heappop(self._heap)
            if not self._is_valid(entry):
                continue
            client = self._clients[entry.client]
            if entry.ends:
                self._end(client)
            else:
                self._push(client.access.ends_at or now, client, ends=True)
                self._notify(client, now)
            handled += 1
            if handled % _ENTRIES_PER_TURN == 0:
                pause()

    def _push(self, at: datetime, client: Client, *, ends: bool) -> None:
        self._number += 1
        heappush(self._heap, _Entry(at, self._number, client.id, client.access, ends))

    def _is_valid(self, entry: _Entry) -> bool:
        client = self._clients.get(entry.client)
        return client is not None and client.access is entry.access
