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
from config.pacing import Throttle

log = logging.getLogger(__name__)

CLOSE_CODE = 4429


class Floods:
    """Closes flooding sessions. `now` is a monotonic clock in seconds."""

    def __init__(self, now: Callable[[], float], limits: Limits) -> None:
        self._now = now
        self._limits = limits
        self._logged = Throttle(monotonic=now)
        # sid -> latest time and packets of the last poll, of sessions that had none waiting
        self._last: dict[str, tuple[float, bytes]] = {}
        self.total = 0  # sessions closed since the start

    @property
    def waiting(self) -> int:
        """The number of ended sessions whose last packets have not been fetched."""
        return len(self._last)

    def end(self, session: Session) -> None:
        """Close the session: a WebSocket with 4429, polling with an `error` and a close packet."""
        self.total += 1
        if count := self._logged.due("flood"):
            log.warning("disconnected a flooding client", extra={"sid": session.sid, "address": session.address, "count": count})
        details = {"retry_after": session.bucket.retry_after()}
        self._close(session, _error(session, f"More than {session.bucket.per_second:g} packets per second.", details))

    def end_surplus(self, session: Session, refusal: Refusal) -> None:
        """Close a session above a limit of its caller in the same way; it receives the error."""
        error = _error(session, str(refusal), refusal.details)
        if session.socket is not None:
            session.outbox.put(error)
        self._close(session, error)

    def _close(self, session: Session, error: Frame) -> None:
        answer = wire.SEPARATOR.join((error.packet, CLOSE.packet))
        self.keep_last(session, answer)
        session.close("rate limit", Frame(answer, b""), code=CLOSE_CODE, linger_seconds=self._limits.flood_linger_seconds)

    def keep_last(self, session: Session, answer: bytes) -> None:
        """Keep the last packets of a session that polls, for a poll that comes later."""
        if session.socket is None and session.poll is None:
            self._last[session.sid] = self._now() + self._limits.linger_seconds, answer

    def last_poll(self, sid: str, method: str) -> bytes | None:
        """Return the last packets of an ended session for its poll, once."""
        return self._last.pop(sid)[1] if method == "GET" and sid in self._last else None

    def tick(self) -> None:
        """Forget packets that no poll has fetched in time."""
        now = self._now()
        while self._last and next(iter(self._last.values()))[0] <= now:
            del self._last[next(iter(self._last))]


def _error(session: Session, message: str, details: dict[str, Any]) -> Frame:
    body = error_body(ErrorCode.TOO_MANY_REQUESTS, message, "disconnect", details)
    return wire.event("error", orjson.dumps(body), namespace=session.namespace or "/")
