"""Slots for requests, so that a few of the server's threads stay free for the health routes.

A request that uses PostgreSQL or Redis holds one of `MAX_WORKING_REQUESTS` slots until its answer
is made, a streamed export until its last row is read. The server needs more threads than that
(config/gunicorn/rest.py).
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from flask import Flask, Response, g, request

from api.access.peers import Peers
from api.errors import ErrorCode, Refusal

MAX_WORKING_REQUESTS = 6
MAX_EXPORTS = 3
MAX_EXPORTS_PER_CLIENT = 2
SLOT_WAIT_SECONDS = 1.0
_WITHOUT_SLOT = frozenset({"health", "docs", "index", "web", "prometheus"})  # blueprints that never wait for a backend


class Slots:
    """A limited number of slots.

    If all are taken, a caller waits up to `patience` seconds for one. It does not wait if none was
    taken or returned for that long: then the holders hang, and waiting would only fill the queue.
    """

    def __init__(self, limit: int, patience: float = SLOT_WAIT_SECONDS) -> None:
        self._free = threading.Semaphore(limit)
        self._patience = patience
        self._moved = time.monotonic()  # time of the last take or return

    def take(self) -> Slot | None:
        """Return a slot, or None if there is none in time."""
        stuck = time.monotonic() - self._moved >= self._patience
        if not self._free.acquire(blocking=False) and (stuck or not self._free.acquire(timeout=self._patience)):
            return None
        self._moved = time.monotonic()
        return Slot(self.give_back)

    def give_back(self) -> None:
        """Return one slot."""
        self._moved = time.monotonic()
        self._free.release()


class Slot:
    """One taken slot. A second release has no effect."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back: Callable[[], None] | None = give_back

    def release(self) -> None:
        """Return the slot."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()


class ExportSlots:
    """Slots of streamed exports: a limited number, and a smaller one for each client."""

    def __init__(self, limit: int = MAX_EXPORTS, per_client: int = MAX_EXPORTS_PER_CLIENT) -> None:
        self._slots = Slots(limit, patience=0)
        self._per_client = per_client
        self._held: Counter[str] = Counter()  # client -> its exports
        self._lock = threading.Lock()

    def take(self, client: str | None) -> Slot:
        """Return a slot. `client` is None for one that only the total limits. Raises 429."""
        with self._lock:
            if client is not None and self._held[client] >= self._per_client:
                raise _too_many(f"{self._per_client} exports of yours run already, try again later")
            slot = self._slots.take()
            if slot is None:
                raise _too_many("too many exports run already, try again later")
            if client is None:
                return slot
            self._held[client] += 1
        return Slot(lambda: self._give_back(client, slot))

    def _give_back(self, client: str, slot: Slot) -> None:
        with self._lock:
            self._held[client] -= 1
            if not self._held[client]:
                del self._held[client]
        slot.release()


def _too_many(message: str) -> Refusal:
    return Refusal(ErrorCode.TOO_MANY_REQUESTS, message)


def register(app: Flask, peers: Peers) -> None:
    """Let every request of `app` that uses a backend take a slot first.

    `peers` finds the address to which an export counts.
    """
    working, exports = Slots(MAX_WORKING_REQUESTS), ExportSlots()

    def take() -> None:
        g.held = []
        g.take_export = lambda: exports.take(_client(peers))
        if request.blueprint is not None and request.blueprint not in _WITHOUT_SLOT:
            slot = working.take()
            if slot is None:
                raise Refusal(ErrorCode.UNAVAILABLE, "too much is waiting just now, try again", {"part": "rest"})
            g.held.append(slot)

    def give_back(_error: BaseException | None) -> None:
        for slot in g.pop("held", []):
            slot.release()

    app.before_request(take)
    app.teardown_request(give_back)


def _client(peers: Peers) -> str | None:
    """Return the address of the client, None if limits per address do not apply to it."""
    address = peers.client(request.remote_addr or "", request.headers.get("X-Forwarded-For"))
    return None if peers.exempt(address) else address


def take_for_export() -> list[Slot]:
    """Return the slots of a streamed answer, which outlive its request: pass them to `hold`.

    Raises 429 if `MAX_EXPORTS` run, or `MAX_EXPORTS_PER_CLIENT` of the client.
    """
    held: list[Slot] = [g.take_export()]
    return [*g.pop("held"), *held]


def hold(response: Response, held: list[Slot]) -> None:
    """Release the slots once the answer is made or given up, even if no byte of it was sent."""
    for slot in held:
        response.call_on_close(slot.release)
