"""The reader of new connections: places, deadlines and the way to the HTTP server."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, cast

import pytest

from api.access.peers import Peers
from api.hub.transport.host import Limits
from api.hub.transport.limits.places import Places
from api.hub.transport.web.arrivals import Arrivals, Passed
from api.hub.transport.web.http_requests import Refused
from api.hub.transport.web.opening import Opening
from api.hub.transport.websocket import Loop, Taken

SOME, OTHER = ("192.0.2.1", 1), ("192.0.2.2", 2)
HANDSHAKE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class _Loop:
    """A loop whose calls the test makes."""

    def __init__(self) -> None:
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.readable: dict[int, Callable[[], None]] = {}  # descriptor -> its callback

    def watch_reading(self, sock: socket.socket, readable: Callable[[], None]) -> _Listener:
        self.readable[sock.fileno()] = readable
        return _Listener(self, sock.fileno())

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        self.later.append((seconds, function))


class _Listener:
    def __init__(self, loop: _Loop, fd: int) -> None:
        self._loop, self._fd = loop, fd

    def stop(self) -> None:
        del self._loop.readable[self._fd]


class _Hub:
    """The reader with one place per address, a clock and a handshake that is refused or taken."""

    def __init__(self) -> None:
        self.now = 100.0
        self.loop = _Loop()
        limits = Limits(ping_interval=25, ping_timeout=5, max_connections_per_address=1, request_seconds=10)
        self.places = Places(limits, Peers())
        self.passed: list[tuple[Any, Passed]] = []
        self.opened: list[Opening] = []
        self.refusal: Refused | Exception | None = None
        self.arrivals = Arrivals(cast(Loop, self.loop), self.places, self._answer, lambda: self.now)

    def _answer(self, opening: Opening, take: Callable[[], Taken]) -> Refused | None:
        self.opened.append(opening)
        if isinstance(self.refusal, Exception) and not isinstance(self.refusal, Refused):
            raise self.refusal
        return self.refusal

    def connect(self, address: Any = SOME, data: bytes = b"") -> socket.socket:
        ours, theirs = socket.create_server(("127.0.0.1", 0)), socket.socket()
        with ours:
            theirs.connect(ours.getsockname())
            theirs.settimeout(60)
            accepted, _ = ours.accept()
        theirs.sendall(data)
        if data:
            accepted.recv(1, socket.MSG_PEEK)  # it has arrived
        accepted.setblocking(False)
        self.arrivals.accept(accepted, address, lambda sock, _, passed: self.passed.append((sock, passed)))
        return theirs

    def read(self) -> None:
        [readable] = self.loop.readable.values()
        readable()


def received(sock: socket.socket) -> bytes:
    """Return all bytes until the end of the connection."""
    data = b""
    while more := sock.recv(65536):
        data += more
    return data


def test_silent_connection_has_a_place_and_ends_after_its_time() -> None:
    hub = _Hub()
    first, second = hub.connect(SOME), hub.connect(SOME)
    assert received(second).startswith(b"HTTP/1.1 429")
    hub.now += 4
    other = hub.connect(OTHER)
    assert hub.places.requesting == 2
    [(seconds, expire)] = hub.loop.later
    assert seconds == 10
    hub.now += 6
    expire()
    assert received(first).startswith(b"HTTP/1.1 408")
    assert hub.places.requesting == 1
    assert hub.loop.later[1][0] == pytest.approx(4)
    hub.now += 4
    hub.loop.later[1][1]()
    assert received(other).startswith(b"HTTP/1.1 408")
    assert (hub.places.requesting, len(hub.loop.later), hub.loop.readable) == (0, 2, {})


def test_connection_that_ends_releases_its_place() -> None:
    hub = _Hub()
    hub.connect().close()
    hub.read()
    assert (hub.places.requesting, hub.loop.readable, hub.passed) == (0, {}, [])


@pytest.mark.parametrize("data", [HANDSHAKE[:-1], b"GET /hub/live HTTP/1.1\r\n\r\n", b"x"])
def test_other_connection_keeps_its_place_its_time_and_its_bytes(data: bytes) -> None:
    hub = _Hub()
    client = hub.connect()
    hub.now += 3
    client.sendall(data)
    hub.read()
    [(sock, passed)] = hub.passed
    assert (sock.recv(8192), passed, hub.places.requesting) == (data, Passed(110.0, answered=False), 1)
    assert (hub.loop.readable, hub.opened) == ({}, [])


@pytest.mark.parametrize("waits", [True, False])
def test_handshake_is_answered_and_later_bytes_stay(waits: bool) -> None:
    hub = _Hub()
    client = hub.connect(data=b"" if waits else HANDSHAKE + b"later")
    if waits:
        client.sendall(HANDSHAKE + b"later")
        hub.read()
    [opening] = hub.opened
    assert (opening.transport, opening.query, opening.peer) == ("websocket", "EIO=4&transport=websocket", SOME[0])
    assert (hub.places.requesting, hub.loop.readable, hub.passed) == (0, {}, [])


def test_refused_connection_goes_on_at_the_http_server() -> None:
    hub = _Hub()
    hub.refusal = Refused(3, "Bad request")
    client = hub.connect(data=HANDSHAKE + b"later")
    assert client.recv(8192).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    [(sock, passed)] = hub.passed
    assert (sock.recv(8192), passed.answered, hub.places.requesting) == (b"later", True, 0)


def test_error_of_ours_ends_its_connection_alone(caplog: pytest.LogCaptureFixture) -> None:
    hub = _Hub()
    hub.refusal = KeyError("a fault")
    assert received(hub.connect(data=HANDSHAKE)) == b""
    assert (hub.places.requesting, "KeyError: 'a fault'" in caplog.text) == (0, True)
