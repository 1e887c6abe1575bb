"""WebSocket handshakes that open a session: all of their checks, in one order.

The reader of new connections (`arrivals.py`) and the HTTP server both call `answer`. No step waits:
keys and tokens are checked in memory (`api/access/`), so that it may run in the loop itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from api.hub.transport.host import Limits
from api.hub.transport.session import Session
from api.hub.transport.web.http_requests import Refused, bad_request, failed
from api.hub.transport.web.opening import Opening, arguments_of
from api.hub.transport.websocket import Loop, Taken, WebSocket, accept
from config.pacing import Throttle

log = logging.getLogger(__name__)

_VERSION = "4"  # of Engine.IO
Headers = Sequence[tuple[str, str]]
# Checks a request before the transport does, and returns more headers of the answer to a refusal.
# Raises `Refused`.
Gate = Callable[[Opening], Headers]


class Opener(Protocol):
    """The part of the Engine.IO server that handshakes need."""

    loop: Loop
    limits: Limits
    closing: set[WebSocket]  # that have sent Close and have not ended

    def open_session(self, opening: Opening) -> Session:
        """Open a session for a handshake. Raises `Refused`."""


def _no_gate(opening: Opening) -> Headers:
    """Leave every check to the transport."""
    return ()


class WebSocketHandshakes:
    """Opens the sessions of WebSocket handshakes. `gate` has the checks of the application.

    `now` is a monotonic clock in seconds.
    """

    def __init__(self, opener: Opener, now: Callable[[], float]) -> None:
        self.gate: Gate = _no_gate
        self._opener = opener
        self._old_versions = Throttle(monotonic=now)

    def answer(self, opening: Opening, take: Callable[[], Taken]) -> Refused | None:
        """Turn the connection into a WebSocket, or return the refusal to send.

        `take()` returns the socket, which nothing else reads from then on.
        """
        try:
            self._open(opening, take)
        except Refused as refusal:
            return refusal
        except Exception:
            log.exception("failed to answer a request")
            return failed()
        return None

    def check_version(self, arguments: Mapping[str, str]) -> None:
        """Raise `Refused` for another version of Engine.IO.

        The line in the log has the reason: an old client shows only its status, 400.
        """
        version = arguments.get("EIO", "")
        if version == _VERSION:
            return
        if count := self._old_versions.due("version"):
            log.warning(
                "refused a client of another protocol version: the hub serves Engine.IO 4 (socket.io-client 3 and 4, python-socketio 5)",
                extra={"event": "connect", "engine_io": version[:8], "count": count},
            )
        raise Refused(5, "Unsupported protocol version")

    def _open(self, opening: Opening, take: Callable[[], Taken]) -> None:
        """Check the request and open its session. Raises `Refused`."""
        more = self.gate(opening)
        try:
            self.check_version(arguments_of(opening.query))
            if (answer := accept(opening.headers)) is None:
                raise bad_request()
            session = self._opener.open_session(opening)
        except Refused as refusal:
            refusal.headers = (*refusal.headers, *more)
            raise
        session.outbox.lead(answer)  # one write has it and the first packet
        taken = take()
        session.open_socket(WebSocket(taken, self._opener.loop, session, self._opener.limits, self._opener.closing))
