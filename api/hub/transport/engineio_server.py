"""The Engine.IO server of the transport, below the upper half of python-engineio.

Replaced parts (tests/unit/test_hooks.py fails if a new version changes one of them):

- `engineio.Server.handle_request`, `send`, `send_packet`, `disconnect`, `transport` and the dict
  `sockets`: a session has neither a writer greenlet nor a ping greenlet; one clock serves all;
- `engineio.Server.generate_id`: random numbers are read in blocks;
- the methods of `socketio.Server` that `api/hub/transport/socketio_server.py` lists.
"""

from __future__ import annotations

import base64
import logging
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import engineio
import orjson

from api.access.audit import Audit
from api.access.model import Authenticator
from api.access.peers import Peers
from api.errors import ErrorCode, Refusal
from api.hub.transport import wire
from api.hub.transport.host import Limits
from api.hub.transport.limits.bucket import Allowance
from api.hub.transport.limits.deadlines import Deadlines
from api.hub.transport.limits.floods import Floods
from api.hub.transport.limits.places import Places, TooMany
from api.hub.transport.limits.states import count_states
from api.hub.transport.limits.totals import SERVER_FULL, ConnectionTotals
from api.hub.transport.outbox import gap_notice
from api.hub.transport.session import CLOSE, NOOP, GapNotice, Session
from api.hub.transport.web.arrivals import Arrivals
from api.hub.transport.web.credentials import RequestCredentials
from api.hub.transport.web.handshakes import WebSocketHandshakes
from api.hub.transport.web.http_requests import kept_headers, refused
from api.hub.transport.web.opening import Opening
from api.hub.transport.web.requests import EngineRequests, StartResponse
from api.hub.transport.websocket import Loop, Taken, WebSocket
from api.hub.transport.wire import Frame
from config.logs.client import client_fields

log = logging.getLogger(__name__)

_CROWDED_OUT_CODE = 1013  # "try again later" of RFC 6455's registry
UNAUTHORIZED_CODE = 4401
_NO_ENVIRON: dict[str, Any] = {}  # python-socketio keeps one per client; a real one has 5 KB, and none is read


_ID_BYTES, _RANDOM_BYTES = 12, 12 * 64


class EngineServer(engineio.Server):  # type: ignore[misc]
    """Sessions over long-polling and WebSocket; the `Host` of each session.

    `now` is a monotonic clock in seconds. `EngineRequests` has the meaning of `wait_for_poll` and
    `detach`. `authenticator` checks the credentials in headers; with None they are not checked.
    `audit` receives refusals of later requests. Other options go to python-engineio.
    """

    sequence_number: int  # of python-engineio, the end of the next id

    def __init__(
        self,
        *,
        loop: Loop,
        now: Callable[[], float],
        wait_for_poll: Callable[[Session, dict[str, Any]], bool],
        detach: Callable[[dict[str, Any]], Taken],
        limits: Limits,
        gap_notice: GapNotice = gap_notice,
        peers: Peers | None = None,
        authenticator: Authenticator | None = None,
        audit: Audit | None = None,
        **options: Any,
    ) -> None:
        pings = {"ping_interval": limits.ping_interval, "ping_timeout": limits.ping_timeout}
        super().__init__(**pings, max_http_buffer_size=limits.max_message_bytes, **options)
        self._random = b""  # for the next ids
        self.loop = loop
        self.limits = limits
        self.sockets: dict[str, Session] = {}  # sid -> session
        self.totals = ConnectionTotals()
        self.slow_clients = 0  # disconnected because of a full outbox or a blocked socket
        self.closing: set[WebSocket] = set()  # that have sent Close and have not ended
        self.allowance = Allowance(limits.events_per_second, limits.events_at_once, now)
        self.floods = Floods(now, limits)
        self._peers = peers or Peers()
        self.places = Places(limits, self._peers)
        self.credentials = RequestCredentials(authenticator, audit)
        self.handshakes = WebSocketHandshakes(self, now)
        self.arrivals = Arrivals(loop, self.places, self.handshakes.answer, now)
        self._requests = EngineRequests(self, wait_for_poll, detach)
        self._gap_notice = gap_notice
        self._conflated = 0  # frames dropped by sessions that have ended
        self._deferred: list[tuple[Session, str]] = []  # (session to close, reason)
        self._deadlines = Deadlines(now, limits, self.defer)
        self.each_tick: list[Callable[[], None]] = []  # called by the clock too
        loop.every(limits.tick_seconds, self.tick)

    def generate_id(self) -> str:
        """Return an id that nobody can guess, for a session or a client.

        As python-engineio makes it, but with random bytes of a block: each read of the kernel's
        random numbers is a system call.
        """
        if len(self._random) < _ID_BYTES:
            self._random = secrets.token_bytes(_RANDOM_BYTES)
        taken, self._random = self._random[:_ID_BYTES], self._random[_ID_BYTES:]
        self.sequence_number = (self.sequence_number + 1) & 0xFFFFFF
        return base64.urlsafe_b64encode(taken + self.sequence_number.to_bytes(3, "big")).decode()

    def handle_request(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one HTTP request of `/socket.io/`, or turn its connection into a WebSocket."""
        return self._requests.answer(environ, start_response)

    # sessions

    def open_session(self, opening: Opening) -> Session:
        """Open a session for a handshake. Raises `Refused`."""
        address = self._peers.client(opening.peer, opening.headers.get("x-forwarded-for"))
        try:
            self.places.check(address)
        except TooMany as error:
            details = {error.name: error.limit, "retry_after": self.limits.connect_seconds}
            raise refused(Refusal(ErrorCode.TOO_MANY_REQUESTS, str(error), details)) from None
        presented = self.credentials.present(opening, address)
        self.make_room()
        headers = kept_headers(opening.headers)
        session = Session(self, self.generate_id(), self.limits.outbox_bytes, self._gap_notice, address, headers, presented)
        self.sockets[session.sid] = session
        self.totals.opened += 1
        self.places.open(session)
        self._deadlines.add(session)
        greeting = {
            "sid": session.sid,
            "upgrades": ["websocket"] if opening.transport == "polling" and self.allow_upgrades else [],
            "pingInterval": int(self.ping_interval * 1000),
            "pingTimeout": int(self.ping_timeout * 1000),
            "maxPayload": self.max_http_buffer_size,
        }
        session.outbox.put(wire.text(wire.OPEN + orjson.dumps(greeting)))
        self.handlers["connect"](session.sid, _NO_ENVIRON)
        return session

    def is_overdue(self, session: Session) -> bool:
        """Return True if a deadline of the session has passed."""
        return self._deadlines.is_overdue(session)

    def make_room(self) -> None:
        """Close one session without a namespace, or a waiting plain socket, if the pool is full."""
        if surplus := self.places.surplus():
            surplus.close(SERVER_FULL, code=_CROWDED_OUT_CODE)

    def tick(self) -> None:
        """Ping and expire sessions. The loop calls it every `limits.tick_seconds`."""
        self._deadlines.tick()
        self.floods.tick()
        for function in self.each_tick:
            function()

    def sessions_by_state(self) -> dict[str, int]:
        """Return the number of connections and sessions in each state."""
        return count_states(self.sockets.values(), self.places.requesting, len(self.closing) + self.floods.waiting)

    def waiting_bytes(self) -> int:
        """Return the bytes that wait in the outboxes of all sessions with a namespace."""
        return sum(session.outbox.size for session in self.sockets.values() if session.joined)

    def conflated(self) -> int:
        """Return the number of frames that all outboxes have dropped since the start."""
        return self._conflated + sum(session.outbox.conflated for session in self.sockets.values())

    def expel(self, session: Session, errors: Sequence[Frame], disconnects: Sequence[Frame]) -> None:
        """Close a session whose rights have ended, with 4401.

        A WebSocket receives all frames first. Polling receives the errors, and a close packet with
        the next poll: socket.io-client drops the packets that precede it in one payload.
        """
        if session.socket is not None:
            for frame in (*errors, *disconnects):
                session.outbox.put(frame)
        last = [wire.SEPARATOR.join(frame.packet for frame in errors), CLOSE.packet]
        self.floods.keep_last(session, *last[session.poll is not None :])
        session.close("unauthorized", Frame(last[0], b""), code=UNAUTHORIZED_CODE)

    def close_all(self) -> None:
        """Close every session without a CLOSE packet, so that its client reconnects."""
        for session in list(self.sockets.values()):
            session.close(self.reason.SERVER_DISCONNECT, answer=NOOP)

    # the host of a session

    def deliver(self, session: Session, data: str | bytes) -> None:
        """Pass a message to Socket.IO.

        A `WireError` is an error of the client, any other exception is ours.
        """
        self.handlers["message"](session.sid, data)

    def forget(self, session: Session, reason: str) -> None:
        """Remove a session that has ended."""
        self.sockets.pop(session.sid, None)
        self._deadlines.forget(session)
        self.places.forget(session)
        self._conflated += session.outbox.conflated
        self.totals.end(reason, "" if session.joined else session.refused)
        try:
            self.handlers["disconnect"](session.sid, reason)
        except Exception:
            log.exception("failed to handle the end of a session", extra=client_fields(session.sid, "disconnect"))

    def defer(self, session: Session, reason: str) -> None:
        """Close the session in the next round of the loop."""
        if not self._deferred:
            self.loop.call_later(0, self._close_deferred)
        self._deferred.append((session, reason))

    def _close_deferred(self) -> None:
        deferred, self._deferred = self._deferred, []
        for session, reason in deferred:
            if reason == "slow consumer" and not session.closed:
                self.slow_clients += 1
                fields = {**client_fields(session.sid, "disconnect"), "waiting_bytes": session.outbox.size}
                log.warning("disconnected a slow client", extra=fields)
            session.close(reason)

    def note_pong(self, session: Session) -> None:
        self._deadlines.note_pong(session)

    def note_blocked(self, session: Session) -> None:
        self._deadlines.note_blocked(session)

    def note_flowing(self, session: Session) -> None:
        self._deadlines.note_flowing(session)

    def note_joined(self, session: Session) -> None:
        session.join_due = 0.0
        self.places.leave_pool(session)

    def note_left(self, session: Session) -> None:
        """Record that the client holds no namespace any more: it must join one again."""
        if not session.closed and not session.join_due:
            self.make_room()
            self.places.enter_pool(session)
            self._deadlines.await_join(session)

    def end_flood(self, session: Session) -> None:
        self.floods.end(session)

    def end_surplus(self, sid: str, refusal: Refusal) -> None:
        """Close a session, if it is open, that is above a limit of its caller."""
        if session := self.sockets.get(sid):
            self.floods.end_surplus(session, refusal)

    def pause(self, seconds: float) -> None:
        self.loop.pause(seconds)

    # called by python-socketio

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
