"""Clients of the metrics in a process of their own: they read, count and time the snapshots.

    python -m tests.bench.metrics_clients PORT COUNT raw|plain|socketio NICE

Each line of stdin has one line of JSON as its response: the figures since the last one.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import sys
import threading
import time
from dataclasses import asdict, dataclass
from datetime import datetime

from tests.bench.frames import client_frame, split_frames
from tests.bench.histogram import Histogram
from tests.bench.servers import BenchError

_QUIET_SECONDS, _LONGEST_TICK_SECONDS = 0.02, 0.5
_READ_BYTES = 1 << 16
_STAMP, _NAME = b'"timestamp":', b"metrics_update"
_KEY = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
PATHS = {"plain": "/ws/metrics", "socketio": "/socket.io/?EIO=4&transport=websocket"}
_SUBSCRIBE = b'42/metrics,["subscribe",{"channels":["market_data","strategy","execution","system"]}]'
_ENGINE_PING, _ENGINE_PONG = b"2", client_frame(b"3")


@dataclass(frozen=True, slots=True)
class Received:
    """The snapshots of a phase: their number, and latencies in ms from their time to a client.

    `last_p99` is that of the last client of each snapshot.
    """

    frames: int
    p50: float
    p99: float
    last_p99: float
    lost: int  # connections that have ended


class Client:
    """One socket, and the bytes that are not read."""

    __slots__ = ("rest", "socket")

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.rest = b""


class _Load:
    """The sockets. One thread reads them, from the first connection on."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._stamps: dict[bytes, float] = {}  # text of a snapshot's time -> Unix seconds
        self._last: dict[float, float] = {}  # time of a snapshot -> latency of the last client
        self._latency = Histogram()
        self._frames = 0
        self._moved = 0.0  # monotonic time of the last frame
        self._lost = 0
        threading.Thread(target=self._read, daemon=True).start()

    def open(self, port: int, kind: str) -> None:
        """Connect one client, and begin to read it."""
        sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        client = Client(sock)
        if kind in PATHS:
            client.rest = handshake(sock, port, PATHS[kind])
        if kind == "socketio":
            _join(client)
        sock.setblocking(False)
        if client.rest:
            self._take(client, b"", time.time())
        self._selector.register(sock, selectors.EVENT_READ, client)

    def settle(self) -> Received:
        """Return the figures since the last call, when no snapshot is on its way."""
        deadline = time.monotonic() + _LONGEST_TICK_SECONDS
        while time.monotonic() < min(deadline, self._moved + _QUIET_SECONDS):
            time.sleep(0.002)
        p50, p99 = (round((each or 0.0) * 1e3, 3) for each in self._latency.percentiles(0.5, 0.99))
        last = sorted(self._last.values())
        found = Received(self._frames, p50, p99, round(last[len(last) * 99 // 100] * 1e3, 3) if last else 0.0, self._lost)
        self._latency.clear()
        self._last.clear()
        self._frames = 0
        return found

    def _read(self) -> None:
        while True:
            for key, _ in self._selector.select(0.1):
                data = b""
                with contextlib.suppress(OSError):
                    data = key.data.socket.recv(_READ_BYTES)
                if data:
                    self._take(key.data, data, time.time())
                else:
                    self._selector.unregister(key.fileobj)
                    self._lost += 1

    def _take(self, client: Client, data: bytes, now: float) -> None:
        if client.rest:
            data = client.rest + data
        at = 0
        for _, payload, end in split_frames(data):
            if payload == _ENGINE_PING:
                client.socket.send(_ENGINE_PONG)
            else:
                self._count(payload[:150], now)
            at = end
        client.rest = data[at:]

    def _count(self, head: bytes, now: float) -> None:
        if _NAME not in head:
            return
        self._frames += 1
        self._moved = time.monotonic()
        if (place := head.find(_STAMP)) < 0:
            return
        text = head[place + len(_STAMP) : head.index(b",", place)]
        sent = self._stamps.get(text)
        if sent is None:
            sent = self._stamps[text] = datetime.fromisoformat(text[1:-1].decode()).timestamp() if text[:1] == b'"' else float(text)
        self._latency.add(now - sent, 1)
        self._last[sent] = now - sent


def handshake(sock: socket.socket, port: int, path: str) -> bytes:
    """Send the upgrade to a WebSocket; return the bytes after its answer."""
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{_KEY}".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        if not (data := sock.recv(_READ_BYTES)):
            raise BenchError(f"a handshake failed: {head[:200]!r}")
        head += data
    head, _, rest = head.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 101"):
        raise BenchError(f"a handshake failed: {head[:200]!r}")
    return rest


def _join(client: Client) -> None:
    """Connect to the namespace and subscribe to all sections."""
    expect(client, b"0{")
    client.socket.sendall(client_frame(b"40/metrics,"))
    expect(client, b"40/metrics,{")
    client.socket.sendall(client_frame(_SUBSCRIBE))
    expect(client, b'42/metrics,["subscription_confirmed"')


def expect(client: Client, start: bytes) -> None:
    """Read until a packet begins with `start`; drop the packets before it, and this one."""
    while True:
        for _, payload, end in split_frames(client.rest):
            if payload.startswith(start):
                client.rest = client.rest[end:]
                return
        if not (data := client.socket.recv(_READ_BYTES)):
            raise BenchError(f"closed instead of {start!r}: {client.rest[:200]!r}")
        client.rest += data


def main(port: int, count: int, kind: str, nice: int) -> None:
    """Connect the clients, then run the commands of the parent process."""
    os.nice(nice)
    load = _Load()
    for _ in range(count):
        load.open(port, kind)
    _respond(load)
    for _ in sys.stdin:
        _respond(load)


def _respond(load: _Load) -> None:
    print(json.dumps(asdict(load.settle())), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
