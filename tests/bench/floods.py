"""Floods of packets: the round trip of other clients, and the end of the flooding client.

The other clients send `ping` events one at a time, together as fast as the answers arrive, and each
below the rate of its own session.
"""

from __future__ import annotations

import json
import math
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground
from tests.bench.flooder import FLOODS, connect
from tests.bench.servers import PEERS, ROOT, Server
from tests.conformance.websocket_client import TEXT, frame

_OTHERS = 20
_EVENTS_PER_SECOND = 40  # of each of them; the rate is 50
_IDLE_SECONDS, _FLOOD_SECONDS = 4.0, 6.0
_MEASURED_SECONDS = 3.0  # of the flood, until the hub closes it
_MANY = 5  # connections of the kind below that flood together
_OF_MANY = "event"

RATIO = Bar("p99 of another client ÷ its idle p99", 2.0)
CLOSED = Bar("seconds until the flooding client is closed", 5.0)
CODE = "close code"
_PING = b"\x81\x012"  # of Engine.IO, as a frame; it usually precedes an answer


class Others:
    """Clients that measure round trips in turn."""

    def __init__(self, port: int) -> None:
        self._sockets = [connect(port) for _ in range(_OTHERS)]
        self._turn = 0

    def __enter__(self) -> Others:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self._sockets:
            sock.close()

    def round_trip(self) -> float:
        """Return the seconds of one ping event; a pause keeps each client below its rate."""
        sock = self._sockets[self._turn % _OTHERS]
        self._turn += 1
        began = time.perf_counter()
        sock.sendall(frame(TEXT, b'42["ping",{"timestamp":1}]'))
        self._await_pong(sock)
        took = time.perf_counter() - began
        time.sleep(max(0.0, 1 / (_OTHERS * _EVENTS_PER_SECOND) - took))
        return took

    @staticmethod
    def _await_pong(sock: socket.socket) -> None:
        data = b""
        while b'42["pong"' not in data:
            more = sock.recv(65536)
            if not more:
                raise ConnectionError("the hub has closed a client that does not flood")
            data += more
        if _PING in data:
            sock.sendall(frame(TEXT, b"3"))

    def measure(self, seconds: float) -> tuple[float, float]:
        """Return median and 99th percentile of the round trips in the next seconds, in ms."""
        times, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            times.append(self.round_trip())
        times.sort()
        return times[len(times) // 2] * 1000, times[math.ceil(0.99 * len(times)) - 1] * 1000


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    place.empty_bus()
    with place.server(PEERS["tickwire"]) as server, Others(server.port) as others:
        for kind in FLOODS:
            yield from _flood(server, others, kind, 1, _IDLE_SECONDS / (2 if quick else 1))
        if not quick:
            yield from _flood(server, others, _OF_MANY, _MANY, _IDLE_SECONDS)


def _flood(server: Server, others: Others, kind: str, count: int, idle_seconds: float) -> Iterator[Measured]:
    """Measure the others without and with the flood of `count` clients."""
    others.measure(0.5)  # warms up
    idle = others.measure(idle_seconds)
    with ExitStack() as stack:
        argv = [sys.executable, "-m", "tests.bench.flooder", str(server.port), kind, str(_FLOOD_SECONDS)]
        flooders = [
            stack.enter_context(subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(count)
        ]
        for flooder in flooders:
            assert flooder.stdout is not None
            flooder.stdout.readline()
        cpu = server.cpu()
        for flooder in flooders:
            assert flooder.stdin is not None
            flooder.stdin.write("\n")
            flooder.stdin.flush()
        during = others.measure(_MEASURED_SECONDS)
        cpu = (server.cpu() - cpu) / _MEASURED_SECONDS
        ends = [json.loads(flooder.communicate()[0]) for flooder in flooders]
    case = kind if count == 1 else f"{kind}, {count} connections"
    yield Measured(case, during[1] / idle[1], RATIO if count == 1 else None, RATIO.text)
    yield Measured(case, during[0] / idle[0], text="median ÷ idle median")
    yield Measured(case, idle[1], text="idle p99, ms")
    yield Measured(case, cpu * 100, text="CPU of the hub during the flood, % of a core")
    for end in ends:
        yield Measured(case, end["seconds"], CLOSED)
        yield Measured(case, end["code"] or 0, text=CODE)


PART = Part("Floods of packets", _run)
