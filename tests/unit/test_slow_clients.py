"""Clients of the fault `slow_client` against a server of a few lines: number, refusal, end."""

from __future__ import annotations

import logging
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from threading import Thread

import pytest

from jobs.books.play.slow_clients import SlowClients

ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
REFUSED = b"HTTP/1.1 401 Unauthorized\r\n\r\n"


class Hub:
    """Answers each handshake with `answer`."""

    def __init__(self) -> None:
        self.answer = ACCEPTED
        self.heads: list[bytes] = []
        self.sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(60)
        for each in self.sockets:
            each.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.sockets.append(client)
            self.heads.append(client.recv(4_096))
            client.sendall(self.answer)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with closing(Hub()) as hub:
        yield hub


@pytest.fixture
def clients(hub: Hub) -> Iterator[SlowClients]:
    clients = SlowClients("127.0.0.1", hub.port)
    yield clients
    clients.set(0)


def has_ended(server_side: socket.socket) -> bool:
    """True if the client has closed the connection."""
    readable, _, _ = select.select([server_side], [], [], 5)
    return bool(readable) and server_side.recv(1) == b""


def test_so_many_clients_are_connected_and_do_not_read(hub: Hub, clients: SlowClients) -> None:
    clients.set(3)
    clients.set(3)
    assert len(hub.sockets) == 3
    assert all(head.startswith(b"GET /ws HTTP/1.1\r\n") for head in hub.heads)
    for each in hub.sockets:
        each.setblocking(False)
        # The buffers of both sides fill, because nobody reads.
        assert _fills(lambda text, each=each: each.send(text))  # type: ignore[misc]
    clients.set(0)
    assert len(hub.sockets) == 3


def _fills(send: Callable[[bytes], int]) -> bool:
    for _ in range(1_000):
        try:
            send(b"x" * 65_536)
        except BlockingIOError:
            return True
    return False


def test_clients_end_when_the_fault_does(hub: Hub, clients: SlowClients) -> None:
    clients.set(2)
    clients.set(1)
    assert has_ended(hub.sockets[1])
    clients.set(0)
    assert has_ended(hub.sockets[0])


def test_refusal_is_one_line_of_the_log(hub: Hub, clients: SlowClients, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    hub.answer = REFUSED
    clients.set(5)
    clients.set(5)
    [line] = [vars(record) for record in caplog.records]
    assert line["message"].startswith("a slow client of the scenario is refused")
    assert line["reason"] == "the hub answers HTTP/1.1 401 Unauthorized"
    hub.answer = ACCEPTED
    clients.set(1)
    assert len(hub.sockets) == 3


def test_hub_that_is_away_is_one_line_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with closing(Hub()) as hub:
        pass
    clients = SlowClients("127.0.0.1", hub.port)
    clients.set(5)
    clients.set(5)
    assert len(caplog.records) == 1
