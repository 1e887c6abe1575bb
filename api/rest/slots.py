"""Slots for requests, so that a few of the server's threads stay free for the health routes.

A request that uses PostgreSQL or Redis holds one of `MAX_WORKING_REQUESTS` slots until its answer
is sent, a streamed export until its last byte is sent. The server needs more threads than that
(config/gunicorn/rest.py).
"""

from __future__ import annotations

import threading
import time

from flask import Flask, Response, g, request

from api.errors import ErrorCode
from api.rest.errors import ApiError

MAX_WORKING_REQUESTS = 6
MAX_EXPORTS = 3
SLOT_WAIT_SECONDS = 1.0
_WITHOUT_SLOT = frozenset({"health", "docs", "index"})  # blueprints that never wait for a backend


class Slots:
    """A limited number of slots.

    If all are taken, a caller waits up to `patience` seconds for one. It does not wait if none was
    returned for that long: then the holders hang, and waiting would only fill the queue.
    """

    def __init__(self, limit: int, patience: float = SLOT_WAIT_SECONDS) -> None:
        self._free = threading.Semaphore(limit)
        self._patience = patience
        self._freed = time.monotonic()

    def take(self) -> Slot | None:
        """Return a slot, or None if there is none in time."""
        if self._free.acquire(blocking=False):
            return Slot(self)
        stuck = time.monotonic() - self._freed >= self._patience
        return Slot(self) if not stuck and self._free.acquire(timeout=self._patience) else None

    def give_back(self) -> None:
        """Return one slot."""
        self._freed = time.monotonic()
        self._free.release()


class Slot:
    """One taken slot. A second release has no effect."""

    def __init__(self, slots: Slots) -> None:
        self._slots: Slots | None = slots

    def release(self) -> None:
        """Return the slot."""
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.give_back()


def register(app: Flask) -> None:
    """Let every request of `app` that uses a backend take a slot first."""
    working, exports = Slots(MAX_WORKING_REQUESTS), Slots(MAX_EXPORTS, patience=0)

    def take() -> None:
        g.held = []
        g.exports = exports
        if request.blueprint is not None and request.blueprint not in _WITHOUT_SLOT:
            slot = working.take()
            if slot is None:
                raise ApiError(503, ErrorCode.UNAVAILABLE, "too much is waiting just now, try again", {"part": "rest"})
            g.held.append(slot)

    def give_back(_error: BaseException | None) -> None:
        for slot in g.pop("held", []):
            slot.release()

    app.before_request(take)
    app.teardown_request(give_back)


def take_for_export() -> list[Slot]:
    """Return the slots of a streamed answer, which outlive its request: pass them to `hold`.

    Raises 429 if `MAX_EXPORTS` run.
    """
    slot: Slot | None = g.exports.take()
    if slot is None:
        raise ApiError(429, ErrorCode.TOO_MANY_REQUESTS, f"{MAX_EXPORTS} exports run already, try again later")
    held: list[Slot] = [*g.pop("held"), slot]
    return held


def hold(response: Response, held: list[Slot]) -> None:
    """Release the slots once the answer is sent or given up, even if no byte of it was sent."""
    for slot in held:
        response.call_on_close(slot.release)
