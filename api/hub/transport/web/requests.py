"""The requests of `/socket.io/`: their answers, or the switch of a connection to WebSocket."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol
from urllib.parse import parse_qs

from api.hub.transport.host import Limits
from api.hub.transport.limits.floods import Floods
from api.hub.transport.limits.totals import PROTOCOL_ERROR
from api.hub.transport.session import Session
from api.hub.transport.web.credentials import RequestCredentials
from api.hub.transport.web.http_requests import Refused, answer_headers, bad_request, read_body, too_large, unknown_sid
from api.hub.transport.web.upgrade import UpgradeProbe
from api.hub.transport.websocket import Loop, Peer, WebSocket, accept, is_upgrade
from api.hub.transport.wire import WireError
from config.logs.client import client_fields
from config.pacing import Throttle

log = logging.getLogger(__name__)

_SWITCHED = ("101 Switching Protocols", "", b"")

StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class Sessions(Protocol):
    """The part of the Engine.IO server that requests need."""

    loop: Loop
    limits: Limits
    sockets: dict[str, Session]  # sid -> session
    closing: set[WebSocket]  # that have sent Close and have not ended
    floods: Floods
    credentials: RequestCredentials
    max_http_buffer_size: int
    reason: Any  # python-engineio's names of the ends of a session

    def open_session(self, transport: str, environ: dict[str, Any]) -> Session:
        """Open a session for a handshake. Raises `Refused`."""

    def is_overdue(self, session: Session) -> bool:
        """Return True if a deadline of the session has passed."""


class EngineRequests:
    """Answers the requests of `/socket.io/`.

    `wait_for_poll` waits until the session has a packet for the poll, and returns False if the
    client has closed the connection. `detach` takes the socket of a request away from the HTTP
    server and makes it non-blocking.
    """

    def __init__(
        self,
        sessions: Sessions,
        wait_for_poll: Callable[[Session, dict[str, Any]], bool],
        detach: Callable[[dict[str, Any]], Any],
        now: Callable[[], float],
    ) -> None:
        self._sessions = sessions
        self._wait_for_poll = wait_for_poll
        self._detach = detach
        self._old_versions = Throttle(monotonic=now)

    def answer(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one HTTP request of `/socket.io/`, or turn its connection into a WebSocket."""
        more: Sequence[tuple[str, str]] = ()
        try:
            status, kind, body = self._serve(environ)
        except Refused as refusal:
            status, kind, body, more = refusal.status, "application/json", refusal.body, refusal.headers
        except Exception:
            log.exception("failed to answer a request")
            status, kind, body = "500 Internal Server Error", "text/plain", b""
        if status.startswith("101"):
            return []
        start_response(status, answer_headers(kind, body, more))
        return [body]

    def _serve(self, environ: dict[str, Any]) -> tuple[str, str, bytes]:
        """Return status, content type and body of the answer. Raises `Refused`."""
        if environ["REQUEST_METHOD"] == "OPTIONS":
            return "204 No Content", "text/plain", b""
        query = {name: values[0] for name, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
        if last := self._sessions.floods.last_poll(query.get("sid", ""), environ["REQUEST_METHOD"]):
            return "200 OK", "text/plain; charset=UTF-8", last
        session = self._session_of(query)
        if session is not None:
            self._sessions.credentials.check(environ, session)
        if query["transport"] == "websocket":
            return self._serve_websocket(environ, session)
        if session is None:
            return self._open_polling(environ)
        if session.socket is not None:
            raise bad_request()
        if environ["REQUEST_METHOD"] == "GET":
            return self._serve_poll(environ, session)
        if environ["REQUEST_METHOD"] == "POST":
            return self._serve_post(environ, session)
        raise Refused(2, "Bad handshake method")

    def _session_of(self, query: dict[str, str]) -> Session | None:
        """Return the session that the request names; None for a handshake. Raises `Refused`."""
        if query.get("transport") not in ("polling", "websocket"):
            raise Refused(0, "Transport unknown")
        if "sid" not in query:
            if query.get("EIO") != "4":
                self._log_version(query.get("EIO", ""))
                raise Refused(5, "Unsupported protocol version")
            return None
        session = self._sessions.sockets.get(query["sid"])
        if session is None:
            raise unknown_sid()
        if query.get("EIO") != "4":
            raise bad_request()
        if session.socket is None and self._sessions.is_overdue(session):
            session.close(self._sessions.reason.PING_TIMEOUT)
            raise unknown_sid()
        return session

    def _log_version(self, version: str) -> None:
        """Log the reason of the refusal: an old client shows only its status, 400."""
        if count := self._old_versions.due("version"):
            log.warning(
                "refused a client of another protocol version: the hub serves Engine.IO 4 (socket.io-client 3 and 4, python-socketio 5)",
                extra={"event": "connect", "engine_io": version[:8], "count": count},
            )

    # polling

    def _open_polling(self, environ: dict[str, Any]) -> tuple[str, str, bytes]:
        if environ["REQUEST_METHOD"] != "GET":
            raise Refused(2, "Bad handshake method")
        session = self._sessions.open_session("polling", environ)
        return "200 OK", "text/plain; charset=UTF-8", session.take_poll(self._sessions.max_http_buffer_size)

    def _serve_poll(self, environ: dict[str, Any], session: Session) -> tuple[str, str, bytes]:
        if session.poll is not None:
            session.close(PROTOCOL_ERROR)
            raise bad_request()
        if session.polling_answer is None and session.outbox.idle and not self._wait_for_poll(session, environ):
            session.close(self._sessions.reason.TRANSPORT_ERROR)
            raise bad_request()
        return "200 OK", "text/plain; charset=UTF-8", session.take_poll(self._sessions.max_http_buffer_size)

    def _serve_post(self, environ: dict[str, Any], session: Session) -> tuple[str, str, bytes]:
        if session.posting:
            session.close(PROTOCOL_ERROR)
            raise bad_request()
        session.posting = True
        try:
            session.receive_payload(read_body(environ, session.message_limit or self._sessions.max_http_buffer_size))
        except WireError as error:
            fields = {**client_fields(session.sid, "message"), "reason": str(error), "close_code": error.code}
            log.info("protocol error of a client", extra=fields)
            session.close(PROTOCOL_ERROR)
            raise (too_large() if error.code == 1009 else bad_request()) from None
        except Exception:
            session.close(PROTOCOL_ERROR)  # an error of ours counts as 1011 does
            raise
        finally:
            session.posting = False
        return "200 OK", "text/html", b"ok"

    # WebSocket

    def _serve_websocket(self, environ: dict[str, Any], session: Session | None) -> tuple[str, str, bytes]:
        answer = accept(environ) if is_upgrade(environ) and environ["REQUEST_METHOD"] == "GET" else None
        if answer is None:
            raise bad_request()
        if session is None:
            session = self._sessions.open_session("websocket", environ)
            session.open_socket(self._accept(environ, answer, session))
            return _SWITCHED
        probe = UpgradeProbe(session)
        socket = self._accept(environ, answer, probe)
        if session.socket is not None or session.upgrading:
            socket.close()  # the protocol test suite requires accepting the second WebSocket before closing it
        else:
            probe.begin(socket)
            self._sessions.loop.call_later(self._sessions.limits.upgrade_seconds, probe.give_up)
        return _SWITCHED

    def _accept(self, environ: dict[str, Any], answer: bytes, peer: Peer) -> WebSocket:
        sock = self._detach(environ)
        try:
            sock.send(answer)
        except OSError:
            log.debug("connection lost during a handshake", extra=client_fields(peer.sid, "connect"))  # the first read finds it too
        return WebSocket(sock, self._sessions.loop, peer, self._sessions.limits, self._sessions.closing)
