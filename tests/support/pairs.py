"""Clients on socket pairs, for both forms of the fan-out loop."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from api.hub.transport import send_many
from config.process.fanout_loop import PYTHON, C

FORMS = (PYTHON, C)
_LEAST_BUFFER = 4096  # bytes; the kernel raises it to its minimum


@contextmanager
def form(loop: str) -> Iterator[None]:
    """Send with this loop; skip the test if its extension is not installed."""
    before = send_many.KIND
    try:
        send_many.choose(loop)
    except send_many.MissingExtension:
        pytest.skip("the extension is not installed: there is no C compiler")
    try:
        yield
    finally:
        send_many.choose(before)


class Pair:
    """A non-blocking socket of the hub, and the end of its client.

    The bytes of each `send()` stay one packet if `packets` is true. Otherwise the socket is a
    stream, which is full after a few thousand bytes.
    """

    def __init__(self, *, packets: bool = False) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET if packets else socket.SOCK_STREAM)
        for end in (self.ours, self.theirs):
            end.setblocking(False)
            if not packets:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LEAST_BUFFER)
        self.send = self.ours.send
        self.fd = self.ours.fileno()

    def read(self, most: int = 1 << 20) -> bytes:
        """Return the bytes that wait for the client, at most `most`; of packets, the next one."""
        try:
            return self.theirs.recv(most)
        except (BlockingIOError, ConnectionResetError):
            return b""

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()

    def __del__(self) -> None:
        self.close()
