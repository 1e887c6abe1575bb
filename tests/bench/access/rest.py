"""The cost of a key at REST: the time of a request with a key ÷ without one.

The client is a bare socket: http.client needs longer for the three headers of the limit than REST.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from statistics import median

from db.bus import Bus
from tests.bench.access.credentials import UNLIMITED, add_keys
from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground
from tests.bench.reads import SYMBOL, web
from tests.bench.servers import BenchError

_PATH = f"/price/latest?symbol={SYMBOL}"
_REQUESTS = 400  # of one side of a pair
_length = re.compile(rb"(?i)content-length: (\d+)").search
RATIO = Bar("`/price/latest` with a key ÷ without", 1.05)


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    place.empty_bus()
    [(_, key)] = add_keys(place, 1)
    with closing(Bus(place.redis_url, lambda: datetime.now(UTC))) as bus:
        bus.set_instruments(dict.fromkeys(place.instruments, "fx"))
        bus.cache_price(SYMBOL, bid="1.0945", ask="1.0947", time=datetime.now(UTC))
    for storage in ("memory", "redis"):
        with web(place, "tickwire", {**UNLIMITED, "RATE_STORAGE": storage}) as (port, _):
            _until_read(port, key)
            pairs = [_pair(port, key) for _ in range(2 + (4 if quick else 15))][2:]  # the first ones warm up
        case = f"RATE_STORAGE={storage}"
        yield Measured(case, median(without for without, _ in pairs) * 1e6, text="without a key, µs")
        yield Measured(case, median(with_key / without for without, with_key in pairs), RATIO if storage == "memory" else None, RATIO.text)


def _pair(port: int, key: str) -> tuple[float, float]:
    """Return the median seconds of a request without and with the key; they alternate."""
    without, with_key = _request(port), _request(port, key)
    times: dict[bytes, list[float]] = {without: [], with_key: []}
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        for number in range(_REQUESTS):
            for request in (without, with_key) if number % 2 else (with_key, without):
                times[request].append(_seconds(sock, request))
    return median(times[without]), median(times[with_key])


def _request(port: int, key: str = "") -> bytes:
    credential = f"X-API-Key: {key}\r\n" if key else ""
    return f"GET {_PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: */*\r\nUser-Agent: curl/8\r\n{credential}\r\n".encode()


def _seconds(sock: socket.socket, request: bytes) -> float:
    began = time.perf_counter()
    sock.sendall(request)
    answer = sock.recv(65536)
    took = time.perf_counter() - began
    head, _, body = answer.partition(b"\r\n\r\n")
    length = _length(head)
    if not head.startswith(b"HTTP/1.1 200") or length is None or len(body) != int(length[1]):
        raise BenchError(f"{_PATH}: {answer[:300]!r}")
    return took


def _until_read(port: int, key: str) -> None:
    """Wait until the process has read the key."""
    for _ in range(100):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
            try:
                _seconds(sock, _request(port, key))
            except BenchError:
                time.sleep(0.1)
            else:
                return
    raise BenchError("the key is not accepted")


PART = Part("A key at REST", _run)
