"""One Engine.IO session: first polling or a WebSocket, maybe an upgrade in between, one outbox all along."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from api.hub.transport import wire
from api.hub.transport.outbox import Outbox
from api.hub.transport.websocket import WebSocket
from api.hub.transport.wire import Frame, Opcode, WireError

if TYPE_CHECKING:
    from api.hub.transport.engineio_server import EngineServer

_PING = wire.text(wire.PING)
_CLOSE = wire.text(wire.CLOSE)
NOOP = wire.text(wire.NOOP)
_PROBE_ANSWER = wire.text(wire.PONG + b"probe")
_LATE = (wire.UPGRADE, wire.NOOP)  # may come late, and mean nothing then
_MOST_PACKETS = 1000  # in one polling payload


class Poll(Protocol):
    """A polling request that waits for something to carry."""

    def wake(self) -> None:
        """Let it return."""


class Session:
    """State of one session; `server` owns the clock and hears its messages.

    A WebSocket session has `socket`; a polling one has none, and `poll` while a request waits.
    """

    __slots__ = ("closed", "joined", "outbox", "ping_due", "poll", "polling_answer", "pong_due", "server", "sid", "socket", "upgrading")

    def __init__(self, server: EngineServer, sid: str, limit: int) -> None:
        self.server = server
        self.sid = sid
        self.outbox = Outbox(self, limit)
        self.socket: WebSocket | None = None
        self.upgrading: Probe | None = None  # the WebSocket that is about to take over
        self.poll: Poll | None = None
        self.polling_answer: Frame | None = None  # what a poll carries instead of the outbox: the end of polling
        self.closed = False
        self.joined = False  # whether it has ever connected to a namespace
        self.ping_due = 0.0  # when the next ping goes out, while no pong is awaited
        self.pong_due = 0.0  # when the session is dead, while one is

    # what the outbox tells

    def blocked(self) -> None:
        if self.socket is not None:
            self.socket.want_write()
            self.server.note_blocked(self)

    def queued(self) -> None:
        if self.poll is not None:
            self.poll.wake()

    def overflowed(self) -> None:
        self.server.defer(self, "slow consumer")

    def broken(self) -> None:
        self.server.defer(self, "transport error")

    # what the socket tells

    def message(self, data: bytes, binary: bool) -> None:
        """A message over the WebSocket."""
        if binary:
            self.server.deliver(self, data)
        else:
            self.receive(data)

    def writable(self) -> None:
        self.server.note_flowing(self)  # who reads slowly is not stuck: that counts from when the socket takes nothing again
        self.outbox.drain()

    def pong(self, payload: bytes) -> None:
        self.outbox.put(Frame(b"", wire.frame(Opcode.PONG, payload)))

    def ended(self, code: int | None) -> None:
        self.close("transport close", code=code)

    # packets

    def receive(self, packet: bytes) -> None:
        """One Engine.IO packet of text. Raises `WireError` where it is none; then the session is to be closed."""
        kind = packet[:1]
        if kind == wire.MESSAGE:
            self.server.deliver(self, packet[1:].decode())
        elif kind == wire.PONG:
            self.server.note_pong(self)
        elif kind == wire.CLOSE:
            self.close("client disconnect", answer=NOOP)
        elif packet not in _LATE:
            raise WireError(1002, "unknown packet type")

    def receive_payload(self, body: bytes) -> None:
        """The body of a polling POST. Raises `ValueError` or `WireError`."""
        packets = wire.split_payload(body)
        if len(packets) > _MOST_PACKETS:
            raise WireError(1002, "too many packets")
        for packet in packets:
            if self.closed:
                return
            if packet[:1] == b"b":
                self.server.deliver(self, wire.unbase64(packet[1:]))
            else:
                packet.decode()
                self.receive(packet)

    def send_message(self, data: str | bytes) -> None:
        """Send what Socket.IO hands down: a packet as text, an attachment as bytes."""
        self.outbox.put(wire.binary(data) if isinstance(data, bytes) else wire.text(wire.MESSAGE + data.encode()))

    def ping(self) -> None:
        """Ask whether the client is still there."""
        self.outbox.put(_PING)

    def take_poll(self, most: int) -> bytes:
        """The payload that answers a poll now; empty where there is nothing to say."""
        if self.polling_answer is not None:
            return self.polling_answer.packet
        return wire.SEPARATOR.join(frame.packet for frame in self.outbox.take(most))

    # transports

    def open_socket(self, socket: WebSocket) -> None:
        """Go on over this WebSocket."""
        self.socket = socket
        self.outbox.open(socket.send)

    def end_polling(self, answer: Frame) -> None:
        """Whatever polls now, or still comes to, hears this and no more."""
        self.polling_answer = answer
        if self.poll is not None:
            self.poll.wake()

    def close(self, reason: str, answer: Frame = _CLOSE, code: int | None = 1000) -> None:
        """End the session; what waits in its outbox is lost. `answer` ends a waiting poll, `code` a WebSocket (None: without a Close)."""
        if self.closed:
            return
        self.closed = True
        self.server.forget(self, reason)
        self.end_polling(answer)
        if self.upgrading is not None:
            self.upgrading.give_up()
        flowing = self.outbox.idle
        self.outbox.shut()
        if self.socket is not None and flowing and code is not None:
            self.socket.close(code)
        elif self.socket is not None:
            self.socket.abort()  # a Close frame behind a torn frame would be read as a part of it


class Probe:
    """A WebSocket that may take over a polling session: `2probe`, `3probe`, `5`."""

    __slots__ = ("_session", "_socket")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._socket: WebSocket | None = None

    def begin(self, socket: WebSocket) -> None:
        """The WebSocket is there; it has a while to finish."""
        self._socket = socket

    def message(self, data: bytes, binary: bool) -> None:
        socket, session = self._socket, self._session
        assert socket is not None  # noqa: S101 - nothing is read before begin()
        if session.closed or binary:
            raise WireError(1002, "no session to upgrade")
        if data == wire.PING + b"probe" and session.upgrading is None:
            session.upgrading = self
            socket.send(_PROBE_ANSWER.wire)
            session.end_polling(NOOP)
        elif data == wire.UPGRADE and session.upgrading is self:
            socket.peer = session
            session.upgrading = None
            session.open_socket(socket)
        else:
            raise WireError(1002, "not a probe")

    def writable(self) -> None:
        return

    def pong(self, payload: bytes) -> None:
        if self._socket is not None:
            with suppress(OSError):  # gone, which the next read will find too
                self._socket.send(wire.frame(Opcode.PONG, payload))

    def ended(self, code: int | None) -> None:
        self.give_up(code)

    def give_up(self, code: int | None = 1000) -> None:
        """The upgrade did not happen: polling goes on."""
        if self._socket is not None and self._socket.peer is self:
            if code is None:
                self._socket.abort()
            else:
                self._socket.close(code)
            if self._session.upgrading is self:
                self._session.upgrading = None
                if not self._session.closed:
                    self._session.polling_answer = None
