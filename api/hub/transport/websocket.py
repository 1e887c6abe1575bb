"""One WebSocket after its handshake: incoming bytes are parsed, and sending never blocks.

The socket of a client is read until a turn of the loop has handled `FRAMES_PER_TURN` of its frames.
If the bucket of its session is empty, or the bytes completed no frame, reading pauses. The waiting
bytes then fill the buffers of the kernel, which slows the sender down.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import logging
import socket
import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from api.hub.transport.host import Limits
from api.hub.transport.limits.bucket import FRAMES_PER_TURN, PAUSE_SECONDS, SLOW_FRAMES_PER_TURN, Bucket
from api.hub.transport.wire import Opcode, Reader, WireError, close_frame
from config.logs.client import client_fields

log = logging.getLogger(__name__)

_READ_BYTES = 64 * 1024
_SIOCOUTQNSD = 0x894B  # of <linux/sockios.h>: bytes in the send queue that are not sent
_ASSUMED_UNSENT_BYTES = 32_768  # where the system has no such call; more than TCP_NOTSENT_LOWAT allows
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Watch(Protocol):
    """The registration of one socket with the event loop."""

    def want_write(self) -> None:
        """Call `writable` once, as soon as the socket takes bytes again."""

    def pause(self) -> None:
        """Stop calling `readable`."""

    def resume(self) -> None:
        """Call `readable` again when bytes have arrived. After `close` it has no effect."""

    def close(self) -> None:
        """End the registration and close the socket."""


class Listener(Protocol):
    """The registration of a socket that is only read."""

    def stop(self) -> None:
        """End the registration. The socket stays open: stop before it is closed."""


class Loop(Protocol):
    """The part of an event loop that the hub needs. No callback may block."""

    def watch(self, sock: socket.socket, readable: Callable[[], None], writable: Callable[[], None]) -> Watch:
        """Call `readable` when bytes have arrived, and `writable` once after each `want_write`."""

    def watch_reading(self, sock: socket.socket, readable: Callable[[], None]) -> Listener:
        """Call `readable` whenever bytes have arrived. It must not raise."""

    def spawn(self, function: Callable[[], None]) -> None:
        """Call once, in a greenlet, which may wait. An exception is logged."""

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        """Call once, from the loop."""

    def every(self, seconds: float, function: Callable[[], None]) -> None:
        """Call again and again, with a pause of `seconds`.

        An exception of the function ends the process.
        """

    def busy(self) -> bool:
        """Return True if a socket is ready, whose callback waits for the present one."""

    def pause(self, seconds: float) -> None:
        """Let other requests and callbacks run, from a request or a greenlet."""


class Peer(Protocol):
    """The receiver of the messages of a WebSocket."""

    @property
    def sid(self) -> str:
        """The id of the session."""

    @property
    def bucket(self) -> Bucket:
        """The tokens of the client."""

    def message(self, data: bytes, binary: bool) -> None:
        """Handle a complete message. Raises `WireError`."""

    def writable(self) -> None:
        """Send waiting bytes: the socket takes them again."""

    def pong(self, payload: bytes) -> None:
        """Answer a WebSocket ping after all waiting frames, so that no partial frame is split."""

    def unanswered(self) -> None:
        """Take the token of a frame without an effect of its own: a fragment, or a pong."""

    def ended(self, code: int | None) -> None:
        """End with this Close code, or at once if the connection is lost (None)."""


class Taken(NamedTuple):
    """A socket that the server of a request has given up, non-blocking.

    `rest` has the bytes behind the request that the server has read already.
    """

    sock: socket.socket
    rest: bytes = b""


class WebSocket:
    """The socket of a connected client.

    `peer` changes if an upgrade succeeds: from its probe to the session. `closing` has the sockets
    of the server that have sent Close and have not ended.
    """

    __slots__ = ("_all_closing", "_closing", "_limits", "_loop", "_reader", "_sock", "_watch", "peer")

    def __init__(self, taken: Taken, loop: Loop, peer: Peer, limits: Limits, closing: set[WebSocket]) -> None:
        self._sock = taken.sock
        self._loop = loop
        self._limits = limits
        self._reader = Reader(limits.max_message_bytes, taken.rest)
        self._closing = False
        self._all_closing = closing
        self.peer = peer
        self._watch = loop.watch(taken.sock, self._readable, self._writable)
        if taken.rest:
            self._pause(0, self._continue)

    @property
    def send(self) -> Callable[[bytes], int]:
        """The `send` of the socket: returns the bytes taken; `BlockingIOError` if it is full."""
        return self._sock.send

    @property
    def fd(self) -> int:
        """The descriptor of the socket."""
        return self._sock.fileno()

    def allow(self, limit: int) -> None:
        """Accept messages of at most this size in bytes from now on."""
        self._reader.allow(limit)

    def want_write(self) -> None:
        """Call `peer.writable` once, as soon as the socket takes bytes again."""
        self._watch.want_write()

    def close(self, code: int = 1000, linger_seconds: float | None = None) -> None:
        """Send Close, and end when the client has closed too, at the latest after `linger_seconds`.

        An earlier end could lose frames that the client has not read.
        """
        if self._closing:
            return
        self._closing = True
        self._all_closing.add(self)
        try:
            self._sock.send(close_frame(code))
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._release()
            return
        self._loop.call_later(self._limits.linger_seconds if linger_seconds is None else linger_seconds, self._release)

    def abort(self) -> None:
        """End at once, without a Close frame."""
        self._closing = True
        self._release()

    def _release(self) -> None:
        self._watch.close()
        self._all_closing.discard(self)

    def _writable(self) -> None:
        if not self._closing:
            self.peer.writable()

    def _readable(self) -> None:
        try:
            data = self._sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if self._closing and (not data or self._has_close(data)):
            self._release()
        elif self._closing:
            self._pause(PAUSE_SECONDS, self._watch.resume)  # a client that goes on sending is read slowly
        elif data:
            self._handle(data)
        else:
            self.peer.ended(None)

    def _handle(self, data: bytes) -> None:
        """Handle the frames that `data` completes, as many as one turn of the loop may."""
        try:
            self._take(data)
        except WireError as error:
            fields = {**client_fields(self.peer.sid, "message"), "reason": str(error), "close_code": error.code}
            log.info("protocol error of a client", extra=fields)
            self.peer.ended(error.code)
        except Exception:
            # An error of ours. It ends this connection alone.
            log.exception("failed to handle a message of a client", extra=client_fields(self.peer.sid, "message"))
            self.peer.ended(1011)

        if self._closing:
            self._watch.resume()  # the end of the connection must be noticed
        elif self._reader.more:
            self._pause(PAUSE_SECONDS if self.peer.bucket.empty else 0, self._continue)
        elif self._reader.frames == 0 or self.peer.bucket.empty:
            self._pause(PAUSE_SECONDS, self._watch.resume)
        else:
            self._watch.resume()

    def _pause(self, seconds: float, then: Callable[[], None]) -> None:
        """Stop reading, and call the function after some time."""
        self._watch.pause()
        self._loop.call_later(seconds, then)

    def _continue(self) -> None:
        if self._closing:
            self._watch.resume()
        else:
            self._handle(b"")

    def _has_close(self, data: bytes) -> bool:
        """Return True if the client answers our Close: the server then closes first (RFC 6455)."""
        try:
            return any(opcode is Opcode.CLOSE for opcode, _ in self._reader.feed(data, FRAMES_PER_TURN))
        except WireError:
            return False

    def _take(self, data: bytes) -> None:
        found = self._reader.feed(data, SLOW_FRAMES_PER_TURN if self.peer.bucket.empty else FRAMES_PER_TURN)
        for _ in range(self._reader.frames - len(found)):
            self.peer.unanswered()
        for opcode, payload in found:
            if self._closing:
                return
            if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
                self.peer.message(payload, opcode is Opcode.BINARY)
            elif opcode is Opcode.PING:
                self.peer.pong(payload)
            elif opcode is Opcode.CLOSE:
                self.peer.ended(int.from_bytes(payload[:2]) if payload else 1000)
            else:
                self.peer.unanswered()


def count_unsent(fd: int) -> int:
    """Return the bytes that the kernel has taken from us and not sent to the client yet."""
    try:
        return int.from_bytes(fcntl.ioctl(fd, _SIOCOUTQNSD, bytes(4)), sys.byteorder)
    except (OSError, ValueError):  # ValueError: the socket is closed
        return _ASSUMED_UNSENT_BYTES


def is_upgrade(headers: Mapping[str, str]) -> bool:
    """Return True if a request with these headers is a WebSocket handshake.

    Their names are in lower case.
    """
    tokens = [token.strip() for token in headers.get("connection", "").lower().split(",")]
    return headers.get("upgrade", "").lower() == "websocket" and "upgrade" in tokens


def accept(headers: Mapping[str, str]) -> bytes | None:
    """Return the response that accepts the handshake; None if it is invalid.

    It declines all extensions (deflate).
    """
    key = headers.get("sec-websocket-key", "")
    if headers.get("sec-websocket-version") != "13" or not _is_key(key):
        return None
    proof = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest())  # noqa: S324 - RFC 6455 requires SHA-1
    return b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + proof + b"\r\n\r\n"


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except ValueError:
        return False
