"""A client of a plain WebSocket (RFC 6455 without Engine.IO): text frames in, an outbox out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from sys import intern
from typing import Protocol

from api.hub.transport import wire
from api.hub.transport.host import Limits
from api.hub.transport.limits.bucket import Allowance, Bucket
from api.hub.transport.limits.totals import reason_of
from api.hub.transport.outbox import Outbox
from api.hub.transport.websocket import Loop, WebSocket, count_unsent
from api.hub.transport.wire import Frame, Opcode

PING = Frame(b"", wire.frame(Opcode.PING, b""))
TRY_AGAIN_CODE = 1013  # "try again later" of RFC 6455's registry
SLOW_CODE, FLOOD_CODE = 1008, 4429


class PlainHost(Protocol):
    """The owner of plain sockets."""

    loop: Loop
    limits: Limits
    allowance: Allowance  # of the buckets of all sockets

    def received(self, peer: PlainSocket, data: bytes, binary: bool) -> None:
        """Handle a message of the client, also if its bucket had no token."""

    def forget(self, peer: PlainSocket, reason: str) -> None:
        """Remove a socket that has ended. Raises nothing."""

    def flooded(self, peer: PlainSocket) -> None:
        """Close a socket whose frames keep arriving at an empty bucket."""

    def defer(self, peer: PlainSocket, reason: str, code: int | None) -> None:
        """Close the socket in the next round of the loop, because callers may be iterating."""


class PlainSocket:
    """One client: a `Peer` of its WebSocket, and the owner of its outbox.

    `id` is the name that the client receives. `heard` is the monotonic time of the last frame;
    `blocked_since` that since which the socket takes no bytes, or None.
    """

    __slots__ = ("_last_code", "_linger_seconds", "address", "blocked_since", "bucket", "closed", "heard", "host", "id", "outbox", "socket")

    def __init__(self, host: PlainHost, name: str, address: str, gap_notice: Callable[[Mapping[str, int]], Frame]) -> None:
        self.host = host
        self.id = name
        self.address = intern(address)  # one string for all clients behind a proxy
        self.outbox = Outbox(self, host.limits.outbox_bytes, gap_notice, newest_only=True)
        self.bucket = Bucket(host.allowance)
        self.heard = host.allowance.now()
        self.blocked_since: float | None = None
        self.closed = False
        self.socket: WebSocket | None = None
        self._last_code: int | None = None  # of the Close frame that follows the waiting bytes
        self._linger_seconds: float | None = None  # for the answer to that frame

    @property
    def sid(self) -> str:
        """The id as the name that all kinds of sessions have."""
        return self.id

    def open_socket(self, socket: WebSocket) -> None:
        """Send everything through this WebSocket from now on."""
        self.socket = socket
        if self.closed:
            socket.close(TRY_AGAIN_CODE)
        else:
            self.outbox.open(socket.send, socket.fd, count_unsent)

    def close(self, reason: str, *, code: int | None = 1000, error: Frame | None = None, linger_seconds: float | None = None) -> None:
        """End the connection with `error` and a Close frame; None ends it without both.

        Waiting frames are discarded. The rest of a partly sent frame goes out first, at the latest
        after `Limits.linger_seconds`. `reason` is one of the words of sessions.
        """
        if self.closed:
            return
        self.closed = True
        self.host.forget(self, reason)
        if self.socket is None:
            self.outbox.shut()
        elif code is None:
            self.outbox.shut()
            self.socket.abort()
        else:
            self._last_code, self._linger_seconds = code, linger_seconds
            self.outbox.finish(() if error is None else (error,))
            self._close_socket(self.outbox.idle and not self.outbox.stalled)
            self.host.loop.call_later(self.host.limits.linger_seconds, self._give_up)

    @property
    def flushing(self) -> bool:
        """True if the Close frame waits for bytes before it."""
        return self._last_code is not None

    def _close_socket(self, flushed: bool) -> None:
        """Send the Close frame if all bytes before it are sent."""
        if flushed and self.socket is not None and self._last_code is not None:
            code, self._last_code = self._last_code, None
            self.outbox.shut()
            self.socket.close(code, self._linger_seconds)

    def _give_up(self) -> None:
        """End a socket that has not taken the waiting bytes in time."""
        if self._last_code is not None and self.socket is not None:
            self._last_code = None
            self.outbox.shut()
            self.socket.abort()

    # calls of the outbox

    def blocked(self) -> None:
        if self.socket is not None:
            self.socket.want_write()
            if self.blocked_since is None:
                self.blocked_since = self.host.allowance.now()

    def queued(self) -> None:
        return  # the frames before `open_socket`

    def overflowed(self) -> None:
        self.host.defer(self, "slow consumer", SLOW_CODE)

    def broken(self) -> None:
        self.host.defer(self, "transport error", None)

    # calls of the socket

    def message(self, data: bytes, binary: bool) -> None:
        """Handle a message of the client."""
        self.unanswered()
        if not self.closed:
            self.host.received(self, data, binary)

    def writable(self) -> None:
        self.blocked_since = None
        self.outbox.drain()
        if self.closed:
            self._close_socket(self.outbox.idle)

    def pong(self, payload: bytes) -> None:
        self.unanswered()
        if self.bucket.paid and not self.closed:
            self.outbox.put(Frame(b"", wire.frame(Opcode.PONG, payload)))

    def unanswered(self) -> None:
        """Take the token of a frame. Every frame proves that the client lives."""
        self.heard = self.host.allowance.now()
        if not self.bucket.pay() and self.bucket.flooded and not self.closed:
            self.host.flooded(self)

    def ended(self, code: int | None) -> None:
        if self.closed and code is None:
            self._give_up()
        self.close(reason_of(code), code=code)
