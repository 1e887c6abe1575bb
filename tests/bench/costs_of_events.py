"""The cost of a client at its sustained limit: each dear request, as often as its tokens allow.

The tokens of a second divided by the cost of the request are its rate. The bar holds for the CPU
time of the hub and for the bytes that it sends, per second.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator

from api.hub.events import CLIENT_EVENTS, MAIN
from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground
from tests.bench.flooder import connect
from tests.bench.servers import PEERS, Server
from tests.conformance.websocket_client import TEXT, frame

_TOKENS_PER_SECOND = 50
_SECONDS = 5.0
_INSTRUMENTS = 31
_INTERVALS = ("1m", "5m", "15m", "1h", "4h", "1d")

CPU = Bar("CPU of the hub per second beyond idle, ms", 20.0)
OUTPUT = Bar("output per second, MB", 1.0)


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    place.empty_bus()
    with place.server(PEERS["tickwire"]) as server:
        seconds = _SECONDS / (5 if quick else 1)
        for event, case, payload in _cases(server.port):
            _load(server, event, payload, 1.0)  # fills the caches
            idle = _load(server, None, {}, seconds)[0]
            cpu, received = _load(server, event, payload, seconds)
            yield Measured(case, (cpu - idle) * 1000, CPU)
            yield Measured(case, received / 1e6, OUTPUT)
            yield Measured(case, _tokens(event, payload), text="tokens")


def _cases(port: int) -> Iterator[tuple[str, str, dict[str, object]]]:
    pairs = _instruments(port)
    series = [{"pair": pair, "interval": interval} for pair in pairs for interval in _INTERVALS]
    yield "subscribe", "subscribe, 1,000 bad items", {"pairs": [{}] * 1000}
    yield "subscribe", "subscribe to all with 186 candles", {"pairs": "all", "candles": series}
    yield "unsubscribe", "unsubscribe from 186 candles", {"candles": series}
    yield "get_server_stats", "get_server_stats", {}
    yield "request_all_prices", "request_all_prices", {}


def _instruments(port: int) -> list[str]:
    with connect(port) as sock:
        sock.sendall(frame(TEXT, b'421["subscribe",{"pairs":"all"}]'))
        data = b""
        while b"431[" not in data or not data.endswith(b"]"):
            data += sock.recv(65536)
        start = data.index(b"431[") + 3
        pairs: list[str] = json.loads(data[start:])[0]["pairs"]
        return pairs[:_INSTRUMENTS]


def _tokens(event: str, payload: dict[str, object]) -> int:
    row = CLIENT_EVENTS[MAIN, event]
    return row.cost(row.request.load(payload), _INSTRUMENTS)


def _load(server: Server, event: str | None, payload: dict[str, object], seconds: float) -> tuple[float, float]:
    """Send the event as often as its tokens allow, or none.

    Return CPU seconds of the hub and bytes received, both per second.
    """
    received, due, packet = 0, float("inf"), b""
    if event is not None:
        due, packet = 0.0, frame(TEXT, f'421["{event}",{json.dumps(payload)}]'.encode())
        pause = _tokens(event, payload) / _TOKENS_PER_SECOND
    with connect(server.port) as sock:
        sock.settimeout(0.002)
        cpu, began = server.cpu(), time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            if passed >= due:
                sock.sendall(packet)
                due += pause
            with contextlib.suppress(TimeoutError):
                received += len(sock.recv(1 << 20))
        return (server.cpu() - cpu) / passed, received / passed


PART = Part("A client at its sustained limit", _run)
