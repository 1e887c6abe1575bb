"""CPU and latency of the sockets of metrics, against a bare loop and two usual servers.

All servers run at the same time. The clients connect to them in turn, so that a ratio is one of
neighbouring measurements.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from statistics import median

from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground
from tests.bench.metrics_clients import Received
from tests.bench.observability.publisher import SIZE, UNLIMITED_SOCKETS, prepare, publishing
from tests.bench.observability.receivers import Receivers
from tests.bench.peers.snapshots import TICK_SECONDS
from tests.bench.servers import PEERS, BenchError, Peer, Server, running

BARE = Bar("CPU per delivery ÷ bare `send()` loop", 1.3)
BROADCAST = Bar("CPU per delivery ÷ `websockets.broadcast`", 0.7)
FASTAPI = Bar("CPU per delivery ÷ FastAPI `send_json`", 0.1)
SOCKETIO = Bar("CPU per delivery, Socket.IO `/metrics` ÷ plain", 1.1)
LATENCY = Bar("p99 of a delivery ÷ bare `send()` loop", 1.3)
FANOUT = Bar("fan-out: p99 to the last client ÷ 10 ms", 1.0)
SOCKETS = Bar("p99 of a delivery ÷ 50 ms", 1.0)
_CLIENTS, _QUICK_CLIENTS, _FEW = 1000, 200, 100
_SECONDS, _QUICK_SECONDS = 3.0, 1.5
_ROUNDS = 4
_WARM_SECONDS = 0.5
_PEERS = ("bare", "websockets", "fastapi")
_SLOW = {"fastapi": 2}  # rounds
_FEWER = {"fastapi": 200}  # clients: it cannot serve 1,000 at 10 Hz with one core
# Which kind of client measures which server; the plain one and Socket.IO share the hub.
_KINDS = {"bare": "raw", "websockets": "plain", "fastapi": "plain", "plain": "plain", "socketio": "socketio"}


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds of the server per snapshot and client, and latencies."""

    cpu: float
    received: Received


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    count = _QUICK_CLIENTS if quick else _CLIENTS
    case = f"{count} clients, 10 Hz, {SIZE / 1000:g} kB"
    prepare(place)
    with ExitStack() as stack:
        servers = {kind: stack.enter_context(_peer(place, kind)) for kind in _PEERS}
        servers["plain"] = servers["socketio"] = stack.enter_context(place.server(PEERS["tickwire"], UNLIMITED_SOCKETS))
        costs: dict[str, list[Cost]] = {kind: [] for kind in _KINDS}
        for number in range(1 if quick else _ROUNDS):
            for kind in list(_KINDS) if number % 2 else reversed(_KINDS):
                if number < _SLOW.get(kind, _ROUNDS):
                    clients = min(count, _FEWER.get(kind, count))
                    costs[kind].append(_measure(place, servers[kind], kind, clients, _QUICK_SECONDS if quick else _SECONDS))
        few = _measure(place, servers["plain"], "plain", _FEW, 2 * (_QUICK_SECONDS if quick else _SECONDS))
    for kind in _KINDS:
        yield Measured(case, median(each.cpu for each in costs[kind]), text=f"{kind}: CPU per delivery, µs")
    for kind, bar in (("bare", BARE), ("websockets", BROADCAST), ("fastapi", FASTAPI)):
        yield Measured(case, _ratio(costs["plain"], costs[kind]), bar)
    yield Measured(case, _ratio(costs["socketio"], costs["plain"]), SOCKETIO)
    for kind in ("bare", "plain"):
        yield Measured(case, median(each.received.p99 for each in costs[kind]), text=f"{kind}: p99 of a delivery, ms")
    latencies = [ours.received.p99 / bare.received.p99 for ours, bare in zip(costs["plain"], costs["bare"], strict=True)]
    yield Measured(case, median(latencies), LATENCY)
    yield Measured(f"{_FEW} clients", few.received.last_p99 / 10, FANOUT)
    yield Measured(f"{_FEW} clients", few.received.p99 / 50, SOCKETS)


def _ratio(ours: list[Cost], others: list[Cost]) -> float:
    """Return the median of the ratios of neighbouring measurements."""
    return median(one.cpu / other.cpu for one, other in zip(ours, others, strict=False))


def _peer(place: Ground, kind: str) -> AbstractContextManager[Server]:
    module = "tests.bench.peers.snapshots"
    peer = Peer(kind, kind, lambda port: (sys.executable, "-m", module, kind, str(port), str(SIZE)), protocol="raw")
    return running(peer, {}, place.folder / f"{kind}.log", place.cores)


def _measure(place: Ground, server: Server, kind: str, count: int, seconds: float) -> Cost:
    """Connect clients and measure for some seconds, from the end of a tick to that of another."""
    with ExitStack() as stack:
        if server.peer.key == "tickwire":
            stack.enter_context(publishing(place))
        clients = stack.enter_context(Receivers(server.port, count, _KINDS[kind]))
        time.sleep(_WARM_SECONDS)
        clients.settle()
        cpu = server.cpu()
        time.sleep(seconds)
        received = clients.settle()
        cpu = server.cpu() - cpu
    if received.lost:
        raise BenchError(f"{kind}: {received.lost} connections were lost")
    if received.frames < 0.1 * count * seconds / TICK_SECONDS:
        raise BenchError(f"{kind}: {received.frames} deliveries in {seconds:g} s are too few")
    return Cost(cpu / received.frames * 1e6, received)


PART = Part("Sockets of metrics", _run)
