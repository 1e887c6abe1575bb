"""`GET /market` of all instruments, when the answer is not kept."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from contextlib import closing
from statistics import median

from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground
from tests.bench.servers import BenchError
from tests.bench.web import feeder
from tests.bench.web.site import site

_KEPT_SECONDS = 2.2  # a little longer than an answer is kept
_REQUESTS, _QUICK_REQUESTS = 9, 3
_BARS = {500: (Bar("answer that is not kept, ms", 100), None), 5000: (Bar("answer that is not kept, ms", 800), Bar("size, MB", 3))}


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    for count, (milliseconds, size) in _BARS.items():
        with site(place, count) as running:
            with feeder.prices(place.redis_url, running.symbols, 1):
                pass
            _get(running.port, gzip=False)  # connections to the servers are opened
            for gzip in (False, True):
                found = [_get(running.port, gzip=gzip) for _ in range(_QUICK_REQUESTS if quick else _REQUESTS)]
                case = f"`/market`, {count:,} instruments, {'gzip' if gzip else 'plain'}"
                yield Measured(case, median(taken for taken, _ in found), milliseconds)
                yield Measured(case, max(taken for taken, _ in found), text="slowest, ms")
                yield Measured(case, median(length for _, length in found) / 1e6, size, text="size, MB")


def _get(port: int, *, gzip: bool) -> tuple[float, int]:
    """Return the milliseconds and the bytes of an answer that the server has to compute."""
    time.sleep(_KEPT_SECONDS)
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.connect()
        began = time.perf_counter()
        connection.request("GET", "/market", headers={"Accept-Encoding": "gzip"} if gzip else {})
        response = connection.getresponse()
        body = response.read()
        taken = time.perf_counter() - began
    if response.status != 200 or (response.getheader("Content-Encoding") == "gzip") != gzip:
        raise BenchError(f"/market: {response.status}, {response.getheader('Content-Encoding')}, {body[:200]!r}")
    return taken * 1000, len(body)


PART = Part("Market overview over HTTP", _run)
