"""The end of a plain socket: no Close frame within a partly sent frame, and no endless wait."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from api.hub.plain.frames import gap_notice
from api.hub.transport.host import Limits
from api.hub.transport.limits.bucket import Allowance
from api.hub.transport.outbox import Outbox
from api.hub.transport.plain_socket import PlainSocket
from api.hub.transport.websocket import Loop, Taken, Watch, WebSocket
from api.hub.transport.wire import Frame, close_frame, text
from tests.unit.test_outbox import Owner, Socket

LIMITS = Limits(ping_interval=25, ping_timeout=5, outbox_bytes=1000)
LARGE, LAST = text(b"x" * 100), text(b"error")


class StillLoop:
    """A loop whose calls the test makes."""

    def __init__(self) -> None:
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.ended = 0

    def watch(self, sock: socket.socket, readable: Callable[[], None], writable: Callable[[], None]) -> Watch:
        return self

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        self.later.append((seconds, function))

    def want_write(self) -> None:
        """Do nothing: the test calls `writable`."""

    def pause(self) -> None:
        """Do nothing."""

    def resume(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        self.ended += 1


class Host:
    """Counts the calls of a plain socket."""

    limits = LIMITS

    def __init__(self) -> None:
        self.still = StillLoop()
        self.loop: Loop = self.still  # type: ignore[assignment]
        self.allowance = Allowance(50, 200, lambda: 0.0)
        self.forgotten = 0

    def received(self, peer: PlainSocket, data: bytes, binary: bool) -> None:
        raise AssertionError("no message is expected")

    def forget(self, peer: PlainSocket, reason: str) -> None:
        self.forgotten += 1

    def flooded(self, peer: PlainSocket) -> None:
        raise AssertionError("no flood is expected")

    def defer(self, peer: PlainSocket, reason: str, code: int | None) -> None:
        peer.close(reason, code=code)


class Sock(Socket):
    """A socket that also ends."""

    def shutdown(self, how: int) -> None:
        """Do nothing."""


@pytest.fixture
def host() -> Host:
    return Host()


def opened(host: Host, sock: Sock) -> PlainSocket:
    peer = PlainSocket(host, "id", "127.0.0.1", gap_notice)
    peer.open_socket(WebSocket(Taken(sock), host.loop, peer, LIMITS, set()))  # type: ignore[arg-type]
    return peer


def test_close_without_waiting_bytes_is_sent_at_once(host: Host) -> None:
    sock = Sock(10**6)
    peer = opened(host, sock)
    peer.close("reason", code=4401, error=LAST)
    peer.close("reason", code=1000)
    assert sock.taken == LAST.wire + close_frame(4401)
    assert (host.forgotten, peer.flushing) == (1, False)


def test_close_follows_the_rest_of_a_frame_and_drops_the_frames_behind_it(host: Host) -> None:
    sock = Sock(50)
    peer = opened(host, sock)
    for _ in range(3):
        peer.outbox.put(LARGE)
    peer.close("slow consumer", code=1008, error=LAST)
    assert peer.flushing
    sock.room = 10**6
    peer.writable()
    assert sock.taken == LARGE.wire + LAST.wire + close_frame(1008)
    assert not peer.flushing


def test_close_waits_for_a_full_socket_without_a_partial_frame(host: Host) -> None:
    sock = Sock(0)
    peer = opened(host, sock)
    peer.outbox.put(LARGE)
    peer.close("slow consumer", code=1008)
    assert (sock.taken, peer.flushing) == (b"", True)
    sock.room = 10**6
    peer.writable()
    assert sock.taken == close_frame(1008)


def test_socket_that_takes_nothing_ends_after_the_time_to_linger(host: Host) -> None:
    sock = Sock(50)
    peer = opened(host, sock)
    peer.outbox.put(LARGE)
    peer.close("slow consumer", code=1008)
    [(seconds, give_up)] = host.still.later
    assert seconds == LIMITS.linger_seconds
    give_up()
    assert (host.still.ended, peer.flushing) == (1, False)
    peer.writable()
    assert sock.taken == LARGE.wire[:50]


def test_lost_connection_ends_at_once(host: Host) -> None:
    sock = Sock(50)
    peer = opened(host, sock)
    peer.outbox.put(LARGE)
    peer.close("slow consumer", code=1008)
    peer.ended(None)
    assert (host.still.ended, peer.flushing, host.forgotten) == (1, False, 1)


def test_frame_above_the_limit_that_cannot_be_replaced_ends_the_client(host: Host) -> None:
    peer = opened(host, Sock(0))
    for _ in range(9):
        peer.outbox.put(LARGE)
    assert not peer.closed
    peer.outbox.put(LARGE)
    assert peer.closed


def test_finish_reports_no_dropped_frames() -> None:
    box, sock = Outbox(Owner(), 250, gap_notice), Sock(50)
    box.open(sock.send)
    for _ in range(5):
        box.put(text(b"y" * 100, "metrics"))
    assert box.dropped
    box.finish([LAST])
    sock.room = 10**6
    box.drain()
    assert sock.taken == text(b"y" * 100).wire + LAST.wire
    assert (box.idle, box.size, box.dropped.total()) == (True, 0, 0)


def test_finish_without_a_socket_keeps_the_frames() -> None:
    box = Outbox(Owner(), 250, gap_notice)
    box.put(LARGE)
    box.finish([LAST])
    assert [frame.wire for frame in box.take(1000)] == [LAST.wire]


def test_frames_before_the_socket_come_first(host: Host) -> None:
    peer, sock = PlainSocket(host, "id", "127.0.0.1", gap_notice), Sock(10**6)
    first = Frame(b"a", b"first")
    peer.outbox.put(first)
    peer.open_socket(WebSocket(Taken(sock), host.loop, peer, LIMITS, set()))  # type: ignore[arg-type]
    assert sock.taken == b"first"


def test_newest_snapshot_alone_waits_and_the_others_are_counted(host: Host) -> None:
    """Below the limit of the outbox too. Frames without a key keep their places."""
    sock = Sock(0)
    peer = opened(host, sock)
    frames = [text(f"snapshot {number}".encode(), "metrics") for number in range(5)]
    notified = text(b"alert")
    for frame in (*frames[:3], notified, *frames[3:]):
        peer.outbox.put(frame)
    sock.room = 10**6
    peer.writable()
    assert sock.taken == notified.wire + frames[4].wire + gap_notice({"metrics": 4}).wire


def test_snapshot_of_which_a_part_is_sent_stays(host: Host) -> None:
    first, second, third = (text(str(number).encode() * 100, "metrics") for number in range(3))
    sock = Sock(50)
    peer = opened(host, sock)
    for frame in (first, second, third):
        peer.outbox.put(frame)
    sock.room = 10**6
    peer.writable()
    assert sock.taken == first.wire + third.wire + gap_notice({"metrics": 1}).wire
