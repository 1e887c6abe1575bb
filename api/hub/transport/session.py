"""One Engine.IO session: long-polling or a WebSocket, an upgrade between them, and one outbox."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from sys import intern
from typing import Any, Protocol

from api.access.credentials import digest_in
from api.access.model import Handshake, Presented
from api.hub.transport import wire
from api.hub.transport.host import Host
from api.hub.transport.limits.bucket import FRAMES_PER_TURN, PAUSE_SECONDS, SLOW_FRAMES_PER_TURN, Bucket, Connects
from api.hub.transport.limits.totals import reason_of
from api.hub.transport.outbox import Outbox
from api.hub.transport.websocket import WebSocket, count_unsent
from api.hub.transport.wire import Frame, Opcode, WireError

_PING = wire.text(wire.PING)
CLOSE = wire.text(wire.CLOSE)
NOOP = wire.text(wire.NOOP)
_IGNORED = (wire.UPGRADE, wire.NOOP)  # packets that may arrive late and have no effect then
_MAX_PACKETS_PER_PAYLOAD = 1000
_NO_HEADERS: Mapping[str, str] = {}
_MAX_CREDENTIALS = 4  # of one session: each namespace, and each new token, may have its own

# Builds the `gap_notice` frame: conflation key -> dropped frames, and the namespace.
GapNotice = Callable[[Mapping[str, int], str], Frame]


class Poll(Protocol):
    """A polling request that waits for packets."""

    def wake(self) -> None:
        """Let the request return."""


class Probe(Protocol):
    """A WebSocket that may replace polling."""

    def give_up(self) -> None:
        """End an upgrade that has not happened."""


class Session:
    """State of one session. `host` owns the clock and receives the messages.

    `socket` is None for a polling session; `poll` is set while a polling request waits.

    `address` and `headers` are those of the request that opened the session. The first namespace
    that the client joins releases the headers, which would be the largest part of an idle session.
    They contain no credential: `presented` has the rights of the one that the request carried. It
    holds for each namespace; without it, a client sends `auth` with each CONNECT.

    Every packet takes a token of the bucket. Without one, an event is refused and a WebSocket ping
    stays unanswered; other packets, which cost little, keep their effect.
    """

    __slots__ = (
        "__weakref__",
        "_credentials",
        "_gap_frame",
        "_headers",
        "address",
        "bucket",
        "closed",
        "connects",
        "host",
        "join_due",
        "message_limit",
        "namespace",
        "outbox",
        "ping_due",
        "poll",
        "polling_answer",
        "pong_due",
        "posting",
        "presented",
        "refused",
        "sid",
        "socket",
        "upgrading",
    )

    def __init__(
        self,
        host: Host[Session],
        sid: str,
        limit: int,
        gap_frame: GapNotice,
        address: str = "",
        headers: Mapping[str, str] = _NO_HEADERS,
        presented: Presented | None = None,
    ) -> None:
        self.host = host
        self.sid = sid
        self._gap_frame = gap_frame
        self.outbox = Outbox(self, limit, self._gap_notice)
        self.bucket = Bucket(host.allowance)
        self.connects = Connects(host.allowance.now)
        self.address = intern(address)  # one string for all clients behind a proxy
        self._headers = headers
        self.presented = presented
        # SHA-256 of the credentials of CONNECT packets and of new tokens, the latest last
        self._credentials: tuple[bytes, ...] = ()
        self.namespace = ""  # the first that the client joined; empty until then
        self.socket: WebSocket | None = None
        self.upgrading: Probe | None = None  # the WebSocket that may replace polling
        self.poll: Poll | None = None
        self.posting = False  # True while the packets of a polling POST are handled
        self.polling_answer: Frame | None = None  # the answer to every poll once polling has ended
        self.closed = False
        self.ping_due = 0.0  # time of the next ping, if no pong is awaited
        self.pong_due = 0.0  # latest time of the pong, if one is awaited; else 0
        self.message_limit = 0  # bytes of one message of the client; 0: the limit of all sessions
        self.join_due = 0.0  # latest time of a CONNECT, if no namespace is held; else 0
        self.refused = ""  # the end of a client whose last CONNECT was refused

    # namespaces

    @property
    def joined(self) -> bool:
        """True after the client has joined a namespace, even if it has left it."""
        return bool(self.namespace)

    def note_joined(self, namespace: str) -> None:
        """Record a joined namespace."""
        self.host.note_joined(self)
        if not self.namespace:
            self.namespace = namespace
            self._headers = _NO_HEADERS

    def handshake(self, namespace: str, auth: Mapping[str, Any] | None) -> Handshake:
        """Return the facts that identify the client for a CONNECT to the namespace."""
        transport = "polling" if self.socket is None else "websocket"
        return Handshake(transport, self.address, self._headers, namespace, auth, self.presented, self.sid)

    def accept(self, auth: Mapping[str, Any] | None) -> None:
        """Record the accepted credential of a CONNECT, or of a new token."""
        digest = digest_in(auth)
        if digest is not None and not self.has(digest):
            self._credentials = (*self._credentials, digest)[-_MAX_CREDENTIALS:]

    def has(self, digest: bytes) -> bool:
        """Return True for the SHA-256 of a credential of the session."""
        return (self.presented is not None and digest == self.presented.digest) or digest in self._credentials

    def _gap_notice(self, dropped: Mapping[str, int]) -> Frame:
        """Return a notice for each namespace of the dropped frames."""
        counts: dict[str, dict[str, int]] = {}
        for key, count in dropped.items():
            namespace, name = wire.split_key(key)
            counts.setdefault(namespace, {})[name] = count
        return wire.together([self._gap_frame(each, namespace) for namespace, each in counts.items()])

    # calls of the outbox

    def blocked(self) -> None:
        if self.socket is not None:
            self.socket.want_write()
            self.host.note_blocked(self)

    def queued(self) -> None:
        if self.poll is not None:
            self.poll.wake()

    def overflowed(self) -> None:
        self.host.defer(self, "slow consumer")

    def broken(self) -> None:
        self.host.defer(self, "transport error")

    # calls of the socket

    def message(self, data: bytes, binary: bool) -> None:
        """Handle a message of the WebSocket. Raises `WireError`."""
        if not binary:
            self.receive(data)
        elif self._pay() or not self.closed:
            self.host.deliver(self, data)

    def writable(self) -> None:
        self.host.note_flowing(self)
        self.outbox.drain()

    def pong(self, payload: bytes) -> None:
        if self._pay():
            self.outbox.put(Frame(b"", wire.frame(Opcode.PONG, payload)))

    def unanswered(self) -> None:
        self._pay()

    def ended(self, code: int | None) -> None:
        self.close(reason_of(code), code=code)

    # packets

    def receive(self, packet: bytes) -> None:
        """Handle one Engine.IO packet of UTF-8 text. Raises `WireError` if it is malformed."""
        kind = packet[:1]
        if kind == wire.PONG and self.pong_due:
            self.host.note_pong(self)  # the answer to our ping is free
            return
        self._pay()
        if self.closed:
            return
        if kind == wire.MESSAGE:
            self.host.deliver(self, packet[1:].decode())
        elif kind == wire.CLOSE:
            self.close("client disconnect", answer=NOOP)
        elif kind != wire.PONG and packet not in _IGNORED:
            raise WireError(1002, "unknown packet type")

    def _pay(self) -> bool:
        """Take the token of a packet; return False if there is none. It may close the session."""
        paid = self.bucket.pay()
        if not paid and self.bucket.flooded and not self.closed:
            self.host.end_flood(self)
        return paid

    def receive_payload(self, body: bytes) -> None:
        """Handle the body of a polling POST. Of malformed input it raises `WireError` alone."""
        packets = wire.split_payload(body)
        if len(packets) > _MAX_PACKETS_PER_PAYLOAD:
            raise WireError(1002, "too many packets")
        # A client with an empty bucket waits for its turn, also if a request has one packet.
        turn = SLOW_FRAMES_PER_TURN if self.bucket.empty else 0  # packets in this turn of the loop
        for packet in packets:
            if turn >= (SLOW_FRAMES_PER_TURN if self.bucket.empty else FRAMES_PER_TURN):
                turn = 0
                self.host.pause(PAUSE_SECONDS if self.bucket.empty else 0)
            turn += 1
            if self.closed:
                return
            if packet[:1] == b"b":
                self.message(_attachment(packet), binary=True)
            else:
                wire.check_text(packet)
                self.receive(packet)

    def send_message(self, data: str | bytes) -> None:
        """Send a packet of Socket.IO (text) or one of its attachments (bytes)."""
        self.outbox.put(wire.binary(data) if isinstance(data, bytes) else wire.text(wire.MESSAGE + data.encode()))

    def ping(self) -> None:
        """Send a ping."""
        self.outbox.put(_PING)

    def take_poll(self, limit: int) -> bytes:
        """Return the payload for a poll, of about `limit` bytes; empty if no packet waits."""
        if self.polling_answer is not None:
            return self.polling_answer.packet
        return wire.SEPARATOR.join(frame.packet for frame in self.outbox.take(limit))

    # transports

    def open_socket(self, socket: WebSocket) -> None:
        """Send everything through this WebSocket from now on."""
        self.socket = socket
        if self.message_limit:
            socket.allow(self.message_limit)
        self.outbox.open(socket.send, socket.fd, count_unsent)

    def allow(self, limit: int) -> None:
        """Accept messages of at most this size in bytes from now on."""
        self.message_limit = limit
        if self.socket is not None:
            self.socket.allow(limit)

    def end_polling(self, answer: Frame) -> None:
        """Answer the waiting poll, and every later one, with this packet alone."""
        self.polling_answer = answer
        if self.poll is not None:
            self.poll.wake()

    def close(self, reason: str, answer: Frame = CLOSE, code: int | None = 1000, linger_seconds: float | None = None) -> None:
        """End the session and discard its outbox.

        `answer` goes to a waiting poll. `code` closes a WebSocket; None ends it without a Close.
        """
        if self.closed:
            return
        self.closed = True
        self.host.forget(self, reason)
        self.end_polling(answer)
        if self.upgrading is not None:
            self.upgrading.give_up()
        flowing = self.outbox.idle
        self.outbox.shut()
        if self.socket is not None and flowing and code is not None:
            self.socket.close(code, linger_seconds)
        elif self.socket is not None:
            self.socket.abort()  # after a partial frame, a Close frame would be read as its rest


def _attachment(packet: bytes) -> bytes:
    """Return the bytes of a binary packet of a polling payload.

    Raises `WireError` if it is not base64.
    """
    try:
        return wire.unbase64(packet[1:])
    except ValueError:
        raise WireError(1002, "attachment is not base64") from None
