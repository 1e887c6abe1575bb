"""The end of sessions that flood the hub, and the last poll of those that use polling."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import orjson

from api.errors import ErrorCode, Refusal, error_body
from api.hub.transport import wire
from api.hub.transport.host import Limits
from api.hub.transport.session import CLOSE, Session
from api.hub.transport.wire import Frame
from config.logs.client import client_fields
from config.pacing import Throttle

log = logging.getLogger(__name__)

CLOSE_CODE = 4429


class Floods:
    """Closes flooding sessions. `now` is a monotonic clock in seconds."""

    def __init__(self, now: Callable[[], float], limits: Limits) -> None:
        self._now = now
        self._limits = limits
        self._logged = Throttle(monotonic=now)
        # sid -> latest time and payloads of the last polls, of sessions that poll
        self._last: dict[str, tuple[float, list[bytes]]] = {}
        self.total = 0  # sessions closed since the start

    @property
    def waiting(self) -> int:
        """The number of ended sessions whose last packets have not been fetched."""
        return len(self._last)

    def count(self, sid: str, address: str) -> None:
        """Count a client that is closed because of its flood."""
        self.total += 1
        if count := self._logged.due("flood"):
            log.warning("disconnected a flooding client", extra={**client_fields(sid, "disconnect"), "address": address, "count": count})

    def end(self, session: Session) -> None:
        """Close the session: a WebSocket with 4429, polling with an `error` and a close packet."""
        self.count(session.sid, session.address)
        details = {"retry_after": session.bucket.retry_after()}
        error = _error(session, f"More than {session.bucket.per_second:g} packets per second.", details)
        answer = wire.SEPARATOR.join((error.packet, CLOSE.packet))
        if session.poll is None:
            self.keep_last(session, answer)
        session.close("rate limit", Frame(answer, b""), code=CLOSE_CODE, linger_seconds=self._limits.flood_linger_seconds)

    def end_surplus(self, session: Session, refusal: Refusal) -> None:
        """Close a session above a limit of its caller; it receives the error first.

        Polling receives the close packet with the next poll, as for a session without rights.
        """
        error = _error(session, str(refusal), refusal.details)
        if session.socket is not None:
            session.outbox.put(error)
        self.keep_last(session, *[error.packet, CLOSE.packet][session.poll is not None :])
        session.close("rate limit", Frame(error.packet, b""), code=CLOSE_CODE)

    def keep_last(self, session: Session, *payloads: bytes) -> None:
        """Keep the last payloads of a session that polls, each for a poll that comes later."""
        if session.socket is None:
            self._last[session.sid] = self._now() + self._limits.linger_seconds, list(payloads)

    def last_poll(self, sid: str, method: str) -> bytes | None:
        """Return the next payload of an ended session for its poll, each once."""
        if method != "GET" or sid not in self._last:
            return None
        payloads = self._last[sid][1]
        payload = payloads.pop(0)
        if not payloads:
            del self._last[sid]
        return payload

    def tick(self) -> None:
        """Forget packets that no poll has fetched in time."""
        now = self._now()
        while self._last and next(iter(self._last.values()))[0] <= now:
            del self._last[next(iter(self._last))]


def _error(session: Session, message: str, details: dict[str, Any]) -> Frame:
    body = error_body(ErrorCode.TOO_MANY_REQUESTS, message, "disconnect", details)
    return wire.event("error", orjson.dumps(body), namespace=session.namespace or "/")
