"""The Engine.IO server of our own transport, under python-engineio's upper half.

What is replaced, and nothing else (tests/unit/test_hooks.py fails where a new version moves one of these):

- `engineio.Server.handle_request`, `send`, `send_packet`, `disconnect`, `transport` and the dict `sockets`: sessions are
  `Session`, without a writer greenlet or a ping greenlet each; one clock pings and expires everybody;
- of `socketio.Server` what `api/hub/transport/socketio_server.py` names.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

import engineio
import orjson

from api.hub.transport import wire
from api.hub.transport.session import NOOP, Probe, Session
from api.hub.transport.websocket import Loop, Peer, WebSocket, accept, is_upgrade
from api.hub.transport.wire import WireError

log = logging.getLogger(__name__)

CONNECT_SECONDS = 45.0  # a session that has not joined a namespace by then is closed
UPGRADE_SECONDS = 10.0
_LOG_EVERY = 60.0  # seconds between two lines about clients of another protocol version, who try again for ever
_GRAIN_SECONDS = 0.003
_SWITCHED = ("101 Switching Protocols", "", b"")
_NO_ENVIRON: dict[str, Any] = {}  # python-socketio keeps one a client; nobody reads it, and a real one weighs 5 KB

StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class Refused(Exception):
    """A request that is not served: Engine.IO's code, and the HTTP status."""

    def __init__(self, code: int, message: str, status: str = "400 Bad Request") -> None:
        self.body = orjson.dumps({"code": code, "message": message})
        self.status = status
        super().__init__(message)


def _unknown_sid() -> Refused:
    return Refused(1, "Session ID unknown")


def _bad_request() -> Refused:
    return Refused(3, "Bad request")


class EngineServer(engineio.Server):  # type: ignore[misc]
    """Sessions over polling and WebSocket. `loop` is set before the first request."""

    loop: Loop
    wait_for_poll: Callable[[Session, dict[str, Any]], bool]  # waits for something to say; False: the client has hung up
    detach: Callable[[dict[str, Any]], Any]  # takes a request's socket away from the HTTP server, non-blocking
    now: Callable[[], float]

    outbox_limit = 256 * 1024
    outbox_timeout = 30.0
    connect_seconds = CONNECT_SECONDS
    most_sessions = 100_000

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.sockets: dict[str, Session] = {}  # sid -> session
        self.slow_clients = 0
        self.closing = 0  # WebSockets that `leave` has told to close and that have not ended
        self._conflated = 0  # by sessions that have ended
        self._pings: deque[tuple[float, Session]] = deque()  # (when to ping, whom): constant delays, so in order
        self._pongs: deque[tuple[float, Session]] = deque()  # (when to give up on, whom)
        self._joins: deque[tuple[float, Session]] = deque()  # (by when it must have joined a namespace, who)
        self._blocked: dict[Session, float] = {}  # session -> since when its socket takes nothing
        self._doomed: list[tuple[Session, str]] = []
        self._version_logged: float | None = None  # when a client of another protocol version was logged last

    # requests

    def handle_request(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Serve one HTTP request of `/socket.io/`, or turn it into a WebSocket."""
        try:
            status, kind, body = self._serve(environ)
        except Refused as refusal:
            status, kind, body = refusal.status, "application/json", refusal.body
        except Exception:
            log.exception("a request could not be served")
            status, kind, body = "500 Internal Server Error", "text/plain", b""
        if status.startswith("101"):
            return []
        headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
        start_response(status, headers + self._cors_headers(environ))
        return [body]

    def _serve(self, environ: dict[str, Any]) -> tuple[str, str, bytes]:
        """Status, content type and body of the answer. Raises `Refused`."""
        self._check_origin(environ)
        if environ["REQUEST_METHOD"] == "OPTIONS":
            return "204 No Content", "text/plain", b""
        query = {name: values[0] for name, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
        session = self._session_of(query)
        if query["transport"] == "websocket":
            return self._serve_websocket(environ, session)
        if session is None:
            return self._open_polling(environ)
        if session.socket is not None:
            raise _bad_request()
        if environ["REQUEST_METHOD"] == "GET":
            return self._serve_poll(environ, session)
        if environ["REQUEST_METHOD"] == "POST":
            return self._serve_post(environ, session)
        raise Refused(2, "Bad handshake method")

    def _check_origin(self, environ: dict[str, Any]) -> None:
        allowed = self._cors_allowed_origins(environ)
        if allowed is not None and "HTTP_ORIGIN" in environ and environ["HTTP_ORIGIN"] not in allowed:
            raise Refused(4, "Forbidden", "403 Forbidden")

    def _session_of(self, query: dict[str, str]) -> Session | None:
        """The session the request names, None for a handshake. Raises `Refused`."""
        if query.get("transport") not in ("polling", "websocket"):
            raise Refused(0, "Transport unknown")
        if "sid" not in query:
            if query.get("EIO") != "4":
                self._log_version(query.get("EIO", ""))
                raise Refused(5, "Unsupported protocol version")
            return None
        session = self.sockets.get(query["sid"])
        if session is None:
            raise _unknown_sid()
        if query.get("EIO") != "4":
            raise _bad_request()
        if session.socket is None and self._is_overdue(session):
            session.close(self.reason.PING_TIMEOUT)
            raise _unknown_sid()
        return session

    def _log_version(self, version: str) -> None:
        """Say why a client does not get in: old ones show their users no more than "xhr poll error" and the status 400."""
        now = self.now()
        if self._version_logged is None or now - self._version_logged >= _LOG_EVERY:
            self._version_logged = now
            log.warning(
                "refused a client of another protocol version: Engine.IO 4 is spoken here (socket.io-client 3 and 4, python-socketio 5)",
                extra={"engine_io": version[:8]},
            )

    # polling

    def _open_polling(self, environ: dict[str, Any]) -> tuple[str, str, bytes]:
        if environ["REQUEST_METHOD"] != "GET":
            raise Refused(2, "Bad handshake method")
        session = self._open("polling")
        return "200 OK", "text/plain; charset=UTF-8", session.take_poll(self.max_http_buffer_size)

    def _serve_poll(self, environ: dict[str, Any], session: Session) -> tuple[str, str, bytes]:
        if session.poll is not None:
            session.close(self.reason.TRANSPORT_ERROR)
            raise _bad_request()
        if session.polling_answer is None and session.outbox.idle and not self.wait_for_poll(session, environ):
            session.close(self.reason.TRANSPORT_ERROR)
            raise _bad_request()
        return "200 OK", "text/plain; charset=UTF-8", session.take_poll(self.max_http_buffer_size)

    def _serve_post(self, environ: dict[str, Any], session: Session) -> tuple[str, str, bytes]:
        body = environ["wsgi.input"].read(self._length(environ))
        if len(body) > self.max_http_buffer_size:
            session.close(self.reason.TRANSPORT_ERROR)
            raise Refused(3, "Payload too large", "413 Request Entity Too Large")
        try:
            session.receive_payload(body)
        except (ValueError, WireError) as error:
            log.info("a client broke the protocol", extra={"reason": str(error)})
            session.close(self.reason.TRANSPORT_ERROR)
            raise _bad_request() from None
        return "200 OK", "text/html", b"ok"

    def _length(self, environ: dict[str, Any]) -> int:
        """How much of a body to read: one byte more than may be is enough to know that it is too much."""
        text = environ.get("CONTENT_LENGTH") or str(self.max_http_buffer_size + 1)
        if not text.isdigit():
            raise _bad_request()
        most: int = self.max_http_buffer_size + 1
        return min(int(text), most)

    # WebSocket

    def _serve_websocket(self, environ: dict[str, Any], session: Session | None) -> tuple[str, str, bytes]:
        answer = accept(environ) if is_upgrade(environ) and environ["REQUEST_METHOD"] == "GET" else None
        if answer is None:
            raise _bad_request()
        if session is None:
            session = self._open("websocket")
            session.open_socket(self._accept(environ, answer, session))
            return _SWITCHED
        probe = Probe(session)
        socket = self._accept(environ, answer, probe)
        if session.socket is not None or session.upgrading:
            socket.close()  # a session has one WebSocket, and the letter wants this one accepted first
        else:
            probe.begin(socket)
            self.loop.call_later(UPGRADE_SECONDS, probe.give_up)
        return _SWITCHED

    def _accept(self, environ: dict[str, Any], answer: bytes, peer: Peer) -> WebSocket:
        sock = self.detach(environ)
        try:
            sock.send(answer)
        except OSError:
            log.debug("a client left during its handshake")  # which the first read will find too
        return WebSocket(sock, self.loop, peer, self.max_http_buffer_size)

    # sessions

    def _open(self, transport: str) -> Session:
        if len(self.sockets) >= self.most_sessions:
            raise Refused(3, "The server is full", "503 Service Unavailable")
        session = Session(self, self.generate_id(), self.outbox_limit)
        self.sockets[session.sid] = session
        self._schedule_ping(session)
        self._joins.append((self.now() + self.connect_seconds, session))
        opening = {
            "sid": session.sid,
            "upgrades": ["websocket"] if transport == "polling" and self.allow_upgrades else [],
            "pingInterval": int(self.ping_interval * 1000),
            "pingTimeout": int(self.ping_timeout * 1000),
            "maxPayload": self.max_http_buffer_size,
        }
        session.outbox.put(wire.text(wire.OPEN + orjson.dumps(opening)))
        self.handlers["connect"](session.sid, _NO_ENVIRON)
        return session

    def deliver(self, session: Session, data: str | bytes) -> None:
        """Hand a message to Socket.IO. Whatever is wrong with it is the client's fault: our own handlers raise nothing."""
        try:
            self.handlers["message"](session.sid, data)
        except Exception as error:
            raise WireError(1002, f"{type(error).__name__}: {error}") from error

    def forget(self, session: Session, reason: str) -> None:
        """A session has ended."""
        self.sockets.pop(session.sid, None)
        self._blocked.pop(session, None)
        self._conflated += session.outbox.conflated
        try:
            self.handlers["disconnect"](session.sid, reason)
        except Exception:
            log.exception("a disconnect could not be handled")

    def defer(self, session: Session, reason: str) -> None:
        """Close the session soon: not while somebody goes through all of them."""
        if not self._doomed:
            self.loop.call_later(0, self._bury)
        self._doomed.append((session, reason))

    def _bury(self) -> None:
        doomed, self._doomed = self._doomed, []
        for session, reason in doomed:
            if reason == "slow consumer" and not session.closed:
                self.slow_clients += 1
                log.warning("disconnected a slow client", extra={"sid": session.sid, "waiting_bytes": session.outbox.size})
            session.close(reason)

    # the clock

    def tick(self) -> None:
        """Ping who is due, end who has not answered, has not joined or is stuck. One call serves everybody."""
        now = self.now()
        for session in _due(self._pings, now):
            # Counted from when the ping was due, not from when the clock got round to it.
            session.pong_due = session.ping_due + self.ping_timeout
            self._pongs.append((session.pong_due, session))
            session.ping()
        for session in _due(self._pongs, now):
            if self._is_overdue(session):
                session.close(self.reason.PING_TIMEOUT)
        for session in _due(self._joins, now):
            if not session.joined:
                session.close(self.reason.TRANSPORT_CLOSE)
        for session, since in list(self._blocked.items()):
            if now - since > self.outbox_timeout:
                self.defer(session, "slow consumer")

    def note_pong(self, session: Session) -> None:
        """The client is there."""
        if session.pong_due:
            self._schedule_ping(session)

    def note_blocked(self, session: Session) -> None:
        """Its socket takes nothing."""
        self._blocked.setdefault(session, self.now())

    def note_flowing(self, session: Session) -> None:
        """Its socket has taken everything."""
        self._blocked.pop(session, None)

    def _schedule_ping(self, session: Session) -> None:
        session.pong_due, session.ping_due = 0.0, self.now() + self.ping_interval
        self._pings.append((session.ping_due, session))

    def _is_overdue(self, session: Session) -> bool:
        """Whether its pong should have come; exact, however late the clock ticks, less the grain of two machines' timers."""
        return self.now() >= (session.pong_due or session.ping_due + self.ping_timeout) - _GRAIN_SECONDS

    # the whole of it

    def waiting_bytes(self) -> int:
        """Bytes that wait in the outboxes of all sessions that have joined a namespace."""
        return sum(session.outbox.size for session in self.sockets.values() if session.joined)

    def conflated(self) -> int:
        """Prices that were conflated away, ever."""
        return self._conflated + sum(session.outbox.conflated for session in self.sockets.values())

    def leave(self) -> None:
        """Close every session in a way that lets its client come back: without the CLOSE packet, which python-socketio takes for good."""
        for session in list(self.sockets.values()):
            if session.socket is not None:
                self.closing += 1
                session.socket.on_closed = self._note_ended
            session.close(self.reason.SERVER_DISCONNECT, answer=NOOP)

    def _note_ended(self) -> None:
        self.closing -= 1

    # what python-socketio calls

    def send(self, sid: str, data: str | bytes) -> None:
        if session := self.sockets.get(sid):
            session.send_message(data)

    def send_packet(self, sid: str, pkt: Any) -> None:
        self.send(sid, pkt.data)

    def disconnect(self, sid: str | None = None) -> None:
        for session in list(self.sockets.values()) if sid is None else filter(None, [self.sockets.get(sid)]):
            session.close(self.reason.SERVER_DISCONNECT)

    def transport(self, sid: str) -> str:
        return "polling" if self.sockets[sid].socket is None else "websocket"


def _due(queue: deque[tuple[float, Session]], now: float) -> Iterable[Session]:
    """Take the open sessions off the queue whose time has come."""
    while queue and queue[0][0] <= now:
        session = queue.popleft()[1]
        if not session.closed:
            yield session
