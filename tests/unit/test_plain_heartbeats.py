"""The clock of plain sockets: silent clients, blocked ones, and those without a credential."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from api.access.peers import Peers
from api.hub.plain.sockets import PlainSockets
from api.hub.transport.host import Limits
from api.hub.transport.limits.bucket import Allowance
from api.hub.transport.limits.places import Places
from api.hub.transport.limits.totals import ConnectionTotals
from api.hub.transport.plain_socket import PING, PlainSocket
from api.hub.transport.websocket import Taken, WebSocket
from api.hub.transport.wire import close_frame, text
from tests.unit.test_plain_socket import Sock, StillLoop

LIMITS = Limits(ping_interval=25, ping_timeout=5, outbox_bytes=1000, blocked_seconds=50)
HEARTBEAT, JOIN = 15.0, 10.0


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Sockets:
    """The sockets of a hub whose clock the test moves."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.engine = SimpleNamespace(
            loop=StillLoop(), limits=LIMITS, allowance=Allowance(50, 200, self.clock), places=Places(LIMITS, Peers()), each_tick=[],
            slow_clients=0, make_room=lambda: None, totals=ConnectionTotals(),
        )  # fmt: skip
        self.sockets = PlainSockets(self.engine, heartbeat=HEARTBEAT, join=JOIN)  # type: ignore[arg-type]
        self.handler = SimpleNamespace(received=lambda *_: None, ended=lambda peer: None)

    def open(self, sock: Sock, name: str = "a", *, joined: bool = True, text_heartbeat: bool = False) -> PlainSocket:
        peer = self.sockets.add(name, "127.0.0.1", self.handler, text_heartbeat=text_heartbeat)
        if joined:
            self.sockets.joined(peer)
        peer.open_socket(WebSocket(Taken(sock), self.engine.loop, peer, LIMITS, set()))  # type: ignore[arg-type]
        return peer

    def after(self, seconds: float) -> None:
        self.clock.now += seconds
        [tick] = self.engine.each_tick
        tick()


@pytest.fixture
def hub() -> Sockets:
    return Sockets()


def test_ping_comes_each_interval_and_the_text_after_it(hub: Sockets) -> None:
    plain, texting = Sock(10**6), Sock(10**6)
    peers = [hub.open(plain), hub.open(texting, "b", text_heartbeat=True)]
    hub.after(14.9)
    assert plain.taken == texting.taken == b""
    for number in (1, 2, 3):
        hub.after(15)
        for peer in peers:
            peer.unanswered()  # a Pong
        assert plain.taken == number * PING.wire
        assert texting.taken == number * (PING.wire + text(b"ping").wire)


def test_client_without_a_frame_for_two_intervals_is_closed(hub: Sockets) -> None:
    sock = Sock(10**6)
    peer = hub.open(sock)
    hub.after(29.9)
    assert not peer.closed
    hub.after(0.1)
    assert peer.closed
    assert sock.taken.endswith(close_frame(1002))
    assert len(hub.sockets) == hub.engine.slow_clients == 0


def test_silent_client_that_takes_no_bytes_is_a_slow_one(hub: Sockets) -> None:
    """It cannot answer: a Ping does not reach it."""
    sock = Sock(0)
    peer = hub.open(sock)
    peer.outbox.put(text(b"x"))
    hub.after(30)
    assert (peer.closed, hub.engine.slow_clients) == (True, 1)
    sock.room = 10**6
    peer.writable()
    assert sock.taken == close_frame(1008), "no Ping waits"


def test_blocked_client_that_sends_frames_is_closed_after_the_timeout(hub: Sockets) -> None:
    sock = Sock(0)
    peer = hub.open(sock)
    peer.outbox.put(text(b"x"))
    for _ in range(5):
        hub.after(10)
        peer.unanswered()
    assert not peer.closed
    hub.after(0.1)
    assert (peer.closed, hub.engine.slow_clients) == (True, 1)


def test_waiting_client_gets_no_text_ping_and_is_closed_with_4401(hub: Sockets) -> None:
    sock = Sock(10**6)
    peer = hub.open(sock, joined=False, text_heartbeat=True)
    hub.after(9.9)
    assert not peer.closed
    hub.after(0.1)
    assert sock.taken.endswith(close_frame(4401))
    assert b'"code":"unauthorized"' in sock.taken
