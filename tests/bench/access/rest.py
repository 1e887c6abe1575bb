"""The cost of a key at REST: the time of a request with a key ÷ without one."""

from __future__ import annotations

import http.client
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
RATIO = Bar("`/price/latest` with a key ÷ without", 1.05)


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    place.empty_bus()
    [(_, key)] = add_keys(place, 1)
    with closing(Bus(place.redis_url, lambda: datetime.now(UTC))) as bus:
        bus.set_instruments(dict.fromkeys(place.instruments, "fx"))
        bus.cache_price(SYMBOL, bid="1.0945", ask="1.0947", time=datetime.now(UTC))
    for storage in ("memory", "redis"):
        with web(place, "tickwire", {**UNLIMITED, "RATE_STORAGE": storage}) as (port, _):
            pairs = [_pair(port, key) for _ in range(2 + (4 if quick else 15))][2:]  # the first ones warm up
        case = f"RATE_STORAGE={storage}"
        yield Measured(case, median(without for without, _ in pairs) * 1e6, text="without a key, µs")
        yield Measured(case, median(with_key / without for without, with_key in pairs), RATIO if storage == "memory" else None, RATIO.text)


def _pair(port: int, key: str) -> tuple[float, float]:
    """Return the median seconds of a request without and with the key; they alternate."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    without, with_key = [], []
    for _ in range(_REQUESTS):
        without.append(_seconds(connection, {}))
        with_key.append(_seconds(connection, {"X-API-Key": key}))
    connection.close()
    return median(without), median(with_key)


def _seconds(connection: http.client.HTTPConnection, headers: dict[str, str]) -> float:
    began = time.perf_counter()
    connection.request("GET", _PATH, headers=headers)
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise BenchError(f"{_PATH}: {answer.status}")
    return time.perf_counter() - began


PART = Part("A key at REST", _run)
