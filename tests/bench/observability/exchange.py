"""A client of one thread with bare sockets: each connection has one request on its way."""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from tests.bench.servers import BenchError

_READ_BYTES = 1 << 16
_WAIT_SECONDS = 30.0  # for an answer
_length = re.compile(rb"(?i)content-length: (\d+)").search


@dataclass(frozen=True, slots=True)
class Load:
    """The answered requests: the seconds of each, and those in all."""

    seconds: float
    taken: Sequence[float]

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.taken) / self.seconds

    @property
    def p99(self) -> float:
        """The 99th percentile in milliseconds."""
        return sorted(self.taken)[len(self.taken) * 99 // 100] * 1e3


def exchange(port: int, requests: Sequence[Iterable[bytes]], seconds: float = float("inf")) -> Load:
    """Send requests of HTTP on one connection each; end after all of them, or after some seconds.

    Raises `BenchError` for another answer than 200.
    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=_WAIT_SECONDS)) for _ in requests]
        return converse(sockets, requests, read_answer, seconds)


def converse(
    sockets: Sequence[socket.socket], requests: Sequence[Iterable[bytes]], read: Callable[[socket.socket], object], seconds: float
) -> Load:
    """Send the requests of each connected socket; `read` reads the whole answer of a ready one."""
    taken: list[float] = []
    begun: dict[socket.socket, float] = {}
    with selectors.DefaultSelector() as selector:
        began = time.perf_counter()
        for sock, own in zip(sockets, map(iter, requests), strict=True):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(sock, selectors.EVENT_READ, own)
            begun[sock] = time.perf_counter()
            sock.sendall(next(own))
        while begun and time.perf_counter() - began < seconds:
            ready = selector.select(_WAIT_SECONDS)
            if not ready:
                raise BenchError(f"no answer within {_WAIT_SECONDS:g} s")
            for key, _ in ready:
                sock = key.fileobj  # type: ignore[assignment]
                read(sock)
                now = time.perf_counter()
                taken.append(now - begun.pop(sock))
                if request := next(key.data, b""):
                    begun[sock] = now
                    sock.sendall(request)
        return Load(time.perf_counter() - began, taken)


def read_answer(sock: socket.socket) -> bytes:
    """Read one whole answer of HTTP; return its body. Raises `BenchError` if it is not 200."""
    answer = receive(sock)
    while b"\r\n\r\n" not in answer:
        answer += receive(sock)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = _length(head)
    if not head.startswith(b"HTTP/1.1 200") or length is None:
        raise BenchError(f"{answer[:300]!r}")
    while len(body) < int(length[1]):
        body += receive(sock)
    return body


def receive(sock: socket.socket) -> bytes:
    """Return the next bytes. Raises `BenchError` if there are none."""
    data = sock.recv(_READ_BYTES)
    if not data:
        raise BenchError("the server has closed a connection")
    return data
