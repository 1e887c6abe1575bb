"""CPU of plain WebSockets per delivery, against a bare loop and two usual servers."""

from __future__ import annotations

import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime

from config.process.descriptors import raise_limit
from db.bus import Bus
from db.bus.snapshots import SECTIONS, Snapshot
from db.timestamps import format_time
from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground
from tests.bench.peers.snapshots import TICK_SECONDS
from tests.bench.servers import PEERS, BenchError, Peer, Server, running

BARE = Bar("CPU per delivery ÷ bare `send()` loop", 1.3)
BROADCAST = Bar("CPU per delivery ÷ `websockets.broadcast`", 0.7)
FASTAPI = Bar("CPU per delivery ÷ FastAPI `send_json`", 0.1)
_CLIENTS, _QUICK_CLIENTS = 1000, 200
_SIZE = 8200
_SECONDS = 5.0
_HANDSHAKE = (
    b"GET /ws/metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
_VARIABLES = {"WS_MAX_CONNECTIONS": "2000", "WS_HEARTBEAT_INTERVAL": "300"}


class Clients:
    """Sockets of one server. A thread reads them and counts their bytes."""

    def __init__(self, port: int, count: int, *, handshake: bool) -> None:
        self.bytes = 0
        self._selector = selectors.DefaultSelector()
        self._stopped = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()  # before the last one is open: no server may collect frames for the first ones
        self._sockets = [self._open(port, handshake) for _ in range(count)]

    def _open(self, port: int, handshake: bool) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        if handshake:
            sock.sendall(_HANDSHAKE)
            head = b""
            while b"\r\n\r\n" not in head:
                if not (data := sock.recv(65536)):
                    raise BenchError(f"a handshake failed: {head[:200]!r}")
                head += data
        sock.setblocking(False)
        self._selector.register(sock, selectors.EVENT_READ)
        return sock

    def _read(self) -> None:
        while not self._stopped:
            for key, _ in self._selector.select(0.2):
                data = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
                self.bytes += len(data)
                if not data:
                    self._selector.unregister(key.fileobj)

    def close(self) -> None:
        """Stop reading and close all sockets."""
        self._stopped = True
        self._thread.join()
        for sock in self._sockets:
            sock.close()


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    raise_limit(8192)
    count, seconds = (_QUICK_CLIENTS, 2.0) if quick else (_CLIENTS, _SECONDS)
    case = f"{count} clients, 10 Hz, {_SIZE / 1000:g} kB"
    values = {kind: _of_peer(place, kind, count, seconds) for kind in ("bare", "websockets", "fastapi")}
    ours = _of_hub(place, count, seconds)
    yield Measured(case, ours, text="CPU per delivery, µs")
    for kind, bar in (("bare", BARE), ("websockets", BROADCAST), ("fastapi", FASTAPI)):
        yield Measured(case, values[kind], text=f"{kind}: CPU per delivery, µs")
        yield Measured(case, ours / values[kind], bar)


def _of_peer(place: Ground, kind: str, count: int, seconds: float) -> float:
    module = "tests.bench.peers.snapshots"
    peer = Peer(kind, kind, lambda port: (sys.executable, "-m", module, kind, str(port), str(_SIZE)), protocol="raw")
    with running(peer, {}, place.folder / f"{kind}.log", place.cores) as server:
        return _cpu_per_delivery(server, count, seconds, handshake=kind != "bare")


def _of_hub(place: Ground, count: int, seconds: float) -> float:
    place.empty_bus()
    with ExitStack() as stack:
        bus = stack.enter_context(closing(Bus(place.redis_url, lambda: datetime.now(UTC))))
        bus.set_instruments(dict.fromkeys(place.instruments, "fx"))
        server = stack.enter_context(place.server(PEERS["tickwire"], _VARIABLES))
        stack.enter_context(_publishing(bus))
        return _cpu_per_delivery(server, count, seconds, handshake=True)


@contextmanager
def _publishing(bus: Bus) -> Iterator[None]:
    """Publish snapshots 10 times per second."""
    stop = threading.Event()
    text = '{"x":"' + "x" * (_SIZE // len(SECTIONS) - 60) + '"}'
    texts = dict.fromkeys(SECTIONS, text)

    def publish() -> None:
        seq = 0
        while not stop.wait(TICK_SECONDS):
            seq += 1
            bus.publish_snapshot(Snapshot(format_time(datetime.now(UTC)), seq, "bench", texts, texts))

    thread = threading.Thread(target=publish, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _cpu_per_delivery(server: Server, count: int, seconds: float, *, handshake: bool) -> float:
    """Return the microseconds of the server per snapshot and client."""
    with closing(Clients(server.port, count, handshake=handshake)) as clients:
        _settle(lambda: clients.bytes, count)
        cpu, received = server.cpu(), clients.bytes
        time.sleep(seconds)
        cpu, received = server.cpu() - cpu, clients.bytes - received
    deliveries = received / _SIZE
    if deliveries < 0.1 * count * seconds / TICK_SECONDS:
        raise BenchError(f"{server.peer.label}: {deliveries:.0f} deliveries in {seconds:g} s are too few")
    return cpu / deliveries * 1e6


def _settle(received: Callable[[], int], count: int) -> None:
    """Wait until each client has had some snapshots. Raises `BenchError`."""
    deadline = time.monotonic() + 30
    first = received()
    while received() < first + 5 * count * _SIZE:
        if time.monotonic() > deadline:
            raise BenchError("no snapshots arrive")
        time.sleep(0.1)


PART = Part("Plain WebSockets", _run)
