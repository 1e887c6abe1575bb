"""The cost of metrics, request ids and the access log: requests per second of two REST processes.

Short loads of two connections alternate between the processes.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from statistics import median

from db.bus import Bus
from tests.bench.access.credentials import UNLIMITED
from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground
from tests.bench.reads import SYMBOL, web
from tests.bench.servers import BenchError

RATIO = Bar("`/price/latest` requests/s with metrics, request id and access log ÷ without, median of pairs", 0.95, at_least=True)
_PATH = f"/price/latest?symbol={SYMBOL}"
_CONNECTIONS, _SECONDS = 2, 1.0
_PAIRS, _QUICK_PAIRS, _WARM_PAIRS = 30, 4, 2
_CPU_CLOCK = 2  # of another process, as clock_getcpuclockid(3) makes it


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    place.empty_bus()
    with closing(Bus(place.redis_url, lambda: datetime.now(UTC))) as bus:
        bus.set_instruments(dict.fromkeys(place.instruments, "fx"))
        bus.cache_price(SYMBOL, bid="1.0945", ask="1.0947", time=datetime.now(UTC))
    found: dict[str, list[tuple[float, float]]] = {"tickwire": [], "without": []}  # (requests/s, CPU µs per request)
    with ExitStack() as stack:
        servers = {
            side: stack.enter_context(web(place, side, {**UNLIMITED, "LOG_FILE": str(place.folder / f"{side}.json")})) for side in found
        }
        for number in range(_WARM_PAIRS + (_QUICK_PAIRS if quick else _PAIRS)):
            for side in sorted(found, reverse=bool(number % 2)):
                measured = _load(*servers[side])
                if number >= _WARM_PAIRS:
                    found[side].append(measured)
    pairs = list(zip(found["tickwire"], found["without"], strict=True))
    yield Measured("/price/latest", median(bare[0] for _, bare in pairs), text="requests/s without")
    yield Measured("/price/latest", median(whole[0] for whole, _ in pairs), text="requests/s with")
    yield Measured("/price/latest", median(whole[1] - bare[1] for whole, bare in pairs), text="CPU per request more, µs")
    yield Measured("/price/latest", median(whole[0] / bare[0] for whole, bare in pairs), RATIO)


def _load(port: int, pid: int) -> tuple[float, float]:
    """Return requests per second, and microseconds of CPU per request, of a short load."""
    counts = [0] * _CONNECTIONS

    def read(place: int) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            while time.monotonic() < end:
                connection.request("GET", _PATH)
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != 200:
                    raise BenchError(f"{_PATH}: {answer.status}: {body[:300]!r}")
                counts[place] += 1

    cpu, began = _cpu(pid), time.monotonic()
    end = began + _SECONDS
    threads = [threading.Thread(target=read, args=(place,)) for place in range(_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not all(counts):
        raise BenchError(f"{_PATH} is not answered")
    return sum(counts) / (time.monotonic() - began), (_cpu(pid) - cpu) / sum(counts) * 1e6


def _cpu(pid: int) -> float:
    return time.clock_gettime((~pid << 3) | _CPU_CLOCK)


PART = Part("REST", _run)
