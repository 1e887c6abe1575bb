"""One WebSocket after its handshake: bytes in become messages, frames go out through a `send` that never blocks."""

from __future__ import annotations

import base64
import hashlib
import logging
import socket
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from api.hub.transport.wire import Opcode, Reader, WireError, close_frame

log = logging.getLogger(__name__)

_READ = 64 * 1024
_LINGER_SECONDS = 3.0  # how long a peer may take to answer our Close before its socket is closed all the same
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Watch(Protocol):
    """An event loop's eye on one socket."""

    def want_write(self) -> None:
        """Call back once, as soon as the socket takes bytes again."""

    def close(self) -> None:
        """Look away and close the socket."""


class Loop(Protocol):
    """What the hub needs of an event loop; `engine` has the one there is."""

    def watch(self, sock: socket.socket, readable: Callable[[], None], writable: Callable[[], None]) -> Watch:
        """Call `readable` whenever there is something to read, `writable` after `want_write`. Neither may block."""

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        """Call once, from the loop."""


class Peer(Protocol):
    """Who hears what a WebSocket says."""

    def message(self, data: bytes, binary: bool) -> None:
        """A whole message. May raise `WireError`."""

    def writable(self) -> None:
        """The socket takes bytes again."""

    def pong(self, payload: bytes) -> None:
        """Answer a WebSocket ping, in its turn: in the middle of a torn frame it would be taken for a part of that."""

    def ended(self, code: int | None) -> None:
        """Nothing more will come: end with this Close code (`WebSocket.close`), or at once where the connection is gone (None)."""


class WebSocket:
    """A connected client's socket. `peer` may change hands during its life (a probe becomes a session)."""

    __slots__ = ("_closing", "_loop", "_reader", "_sock", "_watch", "on_closed", "peer")

    def __init__(self, sock: socket.socket, loop: Loop, peer: Peer, limit: int) -> None:
        self._sock = sock
        self._loop = loop
        self._reader = Reader(limit)
        self._closing = False
        self.peer = peer
        self.on_closed: Callable[[], None] | None = None  # called once when the socket has been closed
        self._watch = loop.watch(sock, self._readable, self._writable)

    @property
    def send(self) -> Callable[[bytes], int]:
        """The socket's own: takes what fits, raises `BlockingIOError` where nothing does."""
        return self._sock.send

    def want_write(self) -> None:
        """Tell the peer once when the socket takes bytes again."""
        self._watch.want_write()

    def close(self, code: int = 1000) -> None:
        """Say Close, and end when the other side has: an end before it has read everything would take it the last frames."""
        if self._closing:
            return
        self._closing = True
        try:
            self._sock.send(close_frame(code))
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._let_go()
            return
        self._loop.call_later(_LINGER_SECONDS, self._let_go)

    def abort(self) -> None:
        """End at once."""
        self._closing = True
        self._let_go()

    def _let_go(self) -> None:
        self._watch.close()
        if self.on_closed is not None:
            tell, self.on_closed = self.on_closed, None
            tell()

    def _writable(self) -> None:
        if not self._closing:
            self.peer.writable()

    def _readable(self) -> None:
        try:
            data = self._sock.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if self._closing:
            if not data:
                self._let_go()
            return
        try:
            if data:
                self._take(data)
            else:
                self.peer.ended(None)
        except WireError as error:
            log.info("a client broke the protocol", extra={"reason": str(error)})
            self.peer.ended(error.code)
        except Exception:
            # Whatever it is, it is this client's alone.
            log.exception("a client's message could not be handled")
            self.peer.ended(1011)

    def _take(self, data: bytes) -> None:
        for opcode, payload in self._reader.feed(data):
            if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
                self.peer.message(payload, opcode is Opcode.BINARY)
            elif opcode is Opcode.PING:
                self.peer.pong(payload)
            elif opcode is Opcode.CLOSE:
                self.peer.ended(int.from_bytes(payload[:2]) if payload else 1000)
            if self._closing:
                return


def is_upgrade(environ: Mapping[str, Any]) -> bool:
    """Whether the request asks for a WebSocket."""
    tokens = [token.strip() for token in environ.get("HTTP_CONNECTION", "").lower().split(",")]
    return environ.get("HTTP_UPGRADE", "").lower() == "websocket" and "upgrade" in tokens


def accept(environ: Mapping[str, Any]) -> bytes | None:
    """The bytes that accept the request's handshake; None where it is not one. Extensions (deflate) are declined by silence."""
    key = environ.get("HTTP_SEC_WEBSOCKET_KEY", "")
    if environ.get("HTTP_SEC_WEBSOCKET_VERSION") != "13" or not _is_key(key):
        return None
    proof = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest())  # noqa: S324 - what RFC 6455 prescribes
    return b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + proof + b"\r\n\r\n"


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except ValueError:
        return False
