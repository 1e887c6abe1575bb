"""Keeping a few of the server's threads free, so that health is answered whatever everybody else is waiting for.

A request that asks PostgreSQL or Redis holds one of `MAX_WORKING_REQUESTS` slots until it is answered, a streamed export until its
last byte is sent. The server needs more threads than that (config/gunicorn/rest.py).
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
_WITHOUT = frozenset({"health", "docs", "index"})  # blueprints that never wait for anything


class Slots:
    """So many at a time. Who comes when all are taken waits for one, unless none has come free for as long as that wait:
    then something hangs, and waiting would only fill the queue."""

    def __init__(self, most: int, patience: float = SLOT_WAIT_SECONDS) -> None:
        self._free = threading.Semaphore(most)
        self._patience = patience
        self._freed = time.monotonic()

    def take(self) -> Slot | None:
        """A slot, or None where there is none in time."""
        if self._free.acquire(blocking=False):
            return Slot(self)
        stuck = time.monotonic() - self._freed >= self._patience
        return Slot(self) if not stuck and self._free.acquire(timeout=self._patience) else None

    def give_back(self) -> None:
        """One is free again."""
        self._freed = time.monotonic()
        self._free.release()


class Slot:
    """One taken slot; giving it back twice is harmless."""

    def __init__(self, slots: Slots) -> None:
        self._slots: Slots | None = slots

    def release(self) -> None:
        """Give it back."""
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.give_back()


def register(app: Flask) -> None:
    """Let every request of `app` that waits for others take a slot first."""
    at_work, exports = Slots(MAX_WORKING_REQUESTS), Slots(MAX_EXPORTS, patience=0)

    def take() -> None:
        g.held = []
        g.exports = exports
        if request.blueprint is not None and request.blueprint not in _WITHOUT:
            slot = at_work.take()
            if slot is None:
                raise ApiError(503, ErrorCode.UNAVAILABLE, "too much is waiting just now, try again", {"part": "rest"})
            g.held.append(slot)

    def give_back(_error: BaseException | None) -> None:
        for slot in g.pop("held", []):
            slot.release()

    app.before_request(take)
    app.teardown_request(give_back)


def take_for_export() -> list[Slot]:
    """What a streamed answer holds beyond its request: hand it to `hold`. 429 where enough exports run already."""
    slot: Slot | None = g.exports.take()
    if slot is None:
        raise ApiError(429, ErrorCode.TOO_MANY_REQUESTS, f"{MAX_EXPORTS} exports run already, try again later")
    held: list[Slot] = [*g.pop("held"), slot]
    return held


def hold(response: Response, held: list[Slot]) -> None:
    """Release these when the answer is sent or given up, even if not a byte of it was."""
    for slot in held:
        response.call_on_close(slot.release)
