"""The end of a WebSocket that the server closes."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, cast

import pytest

from api.hub.transport.host import Limits
from api.hub.transport.websocket import Taken, WebSocket, count_unsent
from config.gunicorn import eventlet_worker
from tests.conformance.websocket_client import CLOSE, PING, TEXT, frame


class _Loop:
    """A loop without time: nothing that is deferred happens."""

    def __init__(self) -> None:
        self.readable: Callable[[], None] = lambda: None
        self.is_closed = False

    def watch(self, sock: socket.socket, readable: Callable[[], None], writable: Callable[[], None]) -> Any:
        self.readable = readable
        return self

    def watch_reading(self, sock: socket.socket, readable: Callable[[], None]) -> Any:
        raise NotImplementedError

    def spawn(self, function: Callable[[], None]) -> None:
        raise NotImplementedError

    def want_write(self) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        pass

    def every(self, seconds: float, function: Callable[[], None]) -> None:
        pass

    def busy(self) -> bool:
        return False

    def pause(self, seconds: float = 0.0) -> None:
        pass

    def resume(self) -> None:
        pass


class _Peer:
    """Takes no message: all arrive after the Close."""

    def message(self, data: bytes, binary: bool) -> None:
        raise AssertionError(data)

    def ended(self, code: int | None) -> None:
        raise AssertionError(code)

    def pong(self, payload: bytes) -> None:
        raise AssertionError(payload)

    def writable(self) -> None:
        raise AssertionError


@pytest.fixture
def closing() -> Iterator[tuple[_Loop, socket.socket]]:
    """A WebSocket that has sent Close, and the socket of its client."""
    loop = _Loop()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        WebSocket(Taken(ours), loop, cast(Any, _Peer()), Limits(ping_interval=1, ping_timeout=1), set()).close()
        yield loop, theirs


@pytest.mark.parametrize(
    ("data", "ends"),
    [
        (frame(CLOSE, b"\x03\xe8"), True),
        (frame(CLOSE, b""), True),
        (frame(TEXT, b"late") + frame(PING, b"") + frame(CLOSE, b"\x03\xe8"), True),
        (frame(TEXT, b"late"), False),
        (frame(CLOSE, b"\x03\xe8")[:3], False),
        (b"\xff\xff\xff", False),
    ],
    ids=["close", "empty", "after others", "message", "part", "garbage"],
)
def test_answer_to_our_close_ends_the_connection_at_once(data: bytes, ends: bool, closing: tuple[_Loop, socket.socket]) -> None:
    loop, theirs = closing
    assert theirs.recv(100)[0] == 0x88
    assert theirs.recv(100) == b""
    theirs.send(data)
    loop.readable()
    assert loop.is_closed is ends


def test_end_of_the_connection_needs_no_close(closing: tuple[_Loop, socket.socket]) -> None:
    loop, theirs = closing
    theirs.shutdown(socket.SHUT_WR)
    loop.readable()
    assert loop.is_closed


def test_accepted_socket_has_the_options_of_the_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        eventlet_worker.set_options(listener)
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
            with accepted:
                options = [accepted.getsockopt(socket.IPPROTO_TCP, option) for option in (socket.TCP_NODELAY, 25)]
    assert options == [1, 16_384]


@pytest.mark.parametrize("first", [b"GET", b""], ids=["bytes", "silent"])
def test_connection_is_accepted_with_its_first_bytes_and_a_silent_one_later(first: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        eventlet_worker.set_options(listener)
        with socket.create_connection(listener.getsockname()) as client:
            assert not select.select([listener], [], [], 0)[0], "it waits for its first bytes"
            client.send(first)
            assert select.select([listener], [], [], 20)[0]
            accepted, _ = listener.accept()
            with accepted:
                accepted.setblocking(False)
                if first:
                    assert accepted.recv(16, socket.MSG_PEEK) == first
                client.send(b"later")
                assert select.select([accepted], [], [], 20)[0]
                assert accepted.recv(16) == first + b"later"


def test_system_without_the_option_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    class Listener:
        def setsockopt(self, level: int, option: int, value: int) -> None:
            if option != socket.TCP_NODELAY:
                raise OSError(92, "Protocol not available")

    eventlet_worker.set_options(cast(Any, Listener()))
    [record] = caplog.records
    assert (record.levelname, vars(record)["option"]) == ("WARNING", "TCP_NOTSENT_LOWAT")


def test_unsent_bytes_are_those_that_the_client_has_no_room_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        eventlet_worker.set_options(listener)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(listener.getsockname())
            accepted, _ = listener.accept()
            with accepted:
                accepted.setblocking(False)
                assert count_unsent(accepted.fileno()) == 0
                taken = 0
                with suppress(BlockingIOError):
                    while True:
                        taken += accepted.send(bytes(4096))
                unsent = count_unsent(accepted.fileno())
                assert 16_384 <= unsent <= taken < 128 * 1024
    with open(os.devnull) as no_socket:
        assert count_unsent(-1) == count_unsent(no_socket.fileno()) == 32_768, "assumed if the call fails"
