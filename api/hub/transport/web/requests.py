"""The requests of `/socket.io/`: their answers, or the switch of a connection to WebSocket."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from api.hub.transport.host import Limits
from api.hub.transport.limits.floods import Floods
from api.hub.transport.limits.totals import PROTOCOL_ERROR
from api.hub.transport.session import Session
from api.hub.transport.web.credentials import RequestCredentials
from api.hub.transport.web.handshakes import WebSocketHandshakes
from api.hub.transport.web.http_requests import (
    Refused,
    answer_headers,
    bad_request,
    failed,
    handshake_headers,
    read_body,
    too_large,
    unknown_sid,
)
from api.hub.transport.web.opening import Opening, arguments_of, opening_of, opens_websocket
from api.hub.transport.web.upgrade import UpgradeProbe
from api.hub.transport.websocket import Loop, Taken, WebSocket, accept, is_upgrade
from api.hub.transport.wire import WireError
from config.logs.client import client_fields

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
    handshakes: WebSocketHandshakes
    max_http_buffer_size: int
    reason: Any  # python-engineio's names of the ends of a session

    def open_session(self, opening: Opening) -> Session:
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
        detach: Callable[[dict[str, Any]], Taken],
    ) -> None:
        self._sessions = sessions
        self._wait_for_poll = wait_for_poll
        self._detach = detach

    def answer(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one HTTP request of `/socket.io/`, or turn its connection into a WebSocket."""
        if opens_websocket(environ):
            refusal = self._sessions.handshakes.answer(opening_of(environ, "websocket"), lambda: self._detach(environ))
            return [] if refusal is None else _refuse(refusal, start_response)
        try:
            status, kind, body = self._serve(environ)
        except Refused as refusal:
            return _refuse(refusal, start_response)
        except Exception:
            log.exception("failed to answer a request")
            return _refuse(failed(), start_response)
        if status.startswith("101"):
            return []
        start_response(status, answer_headers(kind, body, ()))
        return [body]

    def _serve(self, environ: dict[str, Any]) -> tuple[str, str, bytes]:
        """Return status, content type and body of the answer. Raises `Refused`."""
        if environ["REQUEST_METHOD"] == "OPTIONS":
            return "204 No Content", "text/plain", b""
        query = arguments_of(environ.get("QUERY_STRING", ""))
        if last := self._sessions.floods.last_poll(query.get("sid", ""), environ["REQUEST_METHOD"]):
            return "200 OK", "text/plain; charset=UTF-8", last
        session = self._session_of(query)
        if session is not None:
            self._sessions.credentials.check(environ, session)
        if query["transport"] == "websocket":
            return self._serve_upgrade(environ, session)
        if session is None:
            return self._open_polling(environ)
        if session.socket is not None:
            raise bad_request()
        if environ["REQUEST_METHOD"] == "GET":
            return self._serve_poll(environ, session)
        if environ["REQUEST_METHOD"] == "POST":
            return self._serve_post(environ, session)
        raise Refused(2, "Bad handshake method")

    def _session_of(self, query: Mapping[str, str]) -> Session | None:
        """Return the session that the request names; None for a handshake. Raises `Refused`."""
        if query.get("transport") not in ("polling", "websocket"):
            raise Refused(0, "Transport unknown")
        if "sid" not in query:
            self._sessions.handshakes.check_version(query)
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

    # polling

    def _open_polling(self, environ: dict[str, Any]) -> tuple[str, str, bytes]:
        if environ["REQUEST_METHOD"] != "GET":
            raise Refused(2, "Bad handshake method")
        session = self._sessions.open_session(opening_of(environ, "polling"))
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

    def _serve_upgrade(self, environ: dict[str, Any], session: Session | None) -> tuple[str, str, bytes]:
        """Begin the upgrade of a polling session."""
        headers = handshake_headers(environ)
        answer = accept(headers) if is_upgrade(headers) and environ["REQUEST_METHOD"] == "GET" else None
        if answer is None or session is None:
            raise bad_request()
        probe, taken = UpgradeProbe(session), self._detach(environ)
        try:
            taken.sock.send(answer)
        except OSError:
            log.debug("connection lost during a handshake", extra=client_fields(session.sid, "connect"))  # the first read finds it too
        socket = WebSocket(taken, self._sessions.loop, probe, self._sessions.limits, self._sessions.closing)
        if session.socket is not None or session.upgrading:
            socket.close()  # the protocol test suite requires accepting the second WebSocket before closing it
        else:
            probe.begin(socket)
            self._sessions.loop.call_later(self._sessions.limits.upgrade_seconds, probe.give_up)
        return _SWITCHED


def _refuse(refusal: Refused, start_response: StartResponse) -> Iterable[bytes]:
    start_response(refusal.status, answer_headers(refusal.kind, refusal.body, refusal.headers))
    return [refusal.body]
