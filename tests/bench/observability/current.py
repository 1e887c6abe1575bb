"""Requests to `/api/metrics/current`, against a bare Flask route of the same size."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import repeat
from statistics import median

from tests.bench.access.credentials import UNLIMITED, add_keys
from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground
from tests.bench.observability.exchange import Load, exchange
from tests.bench.observability.publisher import SIZE, fill_instruments, publishing
from tests.bench.reads import web
from tests.bench.servers import BenchError, Peer, running

RATIO = Bar("requests/s ÷ bare Flask route", 0.7, at_least=True)
RATE = Bar("requests/s", 1000, at_least=True)
P99 = Bar("p99, ms", 100)
_CONNECTIONS = 8
_PAIRS, _SECONDS = 4, 1.5
_PATH = "/api/metrics/current"


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    fill_instruments(place)
    [(_, key)] = add_keys(place, 1, "observe")
    seconds, pairs = (0.7, 1) if quick else (_SECONDS, _PAIRS)
    with ExitStack() as stack:
        stack.enter_context(publishing(place))
        ports = {kind: stack.enter_context(_bare(place, kind)) for kind in ("gthread", "config.gunicorn.rest_worker.GuardedRestWorker")}
        with place.cores.of_server():
            ports["ours"], _ = stack.enter_context(web(place, "tickwire", UNLIMITED))
        _until_ready(ports["ours"], key)
        loads: dict[str, list[Load]] = {kind: [] for kind in (*ports, "with a key")}
        for number in range(1 + pairs):  # the first one warms up
            for kind in [*loads] if number % 2 else reversed([*loads]):
                loads[kind].append(load(ports.get(kind, ports["ours"]), _CONNECTIONS, seconds, key if kind == "with a key" else ""))
    yield from _figures({kind: each[1:] for kind, each in loads.items()})


def _figures(loads: dict[str, list[Load]]) -> Iterator[Measured]:
    case = f"{_CONNECTIONS} connections"
    rates = {kind: median(each.rate for each in found) for kind, found in loads.items()}
    bare, same_worker, ours, with_key = rates.values()
    yield Measured(case, bare, text="bare Flask, gthread: requests/s")
    yield Measured(case, same_worker, text="bare Flask, our worker: requests/s")
    yield Measured(case, ours, RATE)
    yield Measured(case, median(one.rate / other.rate for one, other in zip(loads["ours"], loads["gthread"], strict=True)), RATIO)
    yield Measured(case, ours / same_worker, text="requests/s ÷ bare Flask on our worker")
    yield Measured(case, with_key, text="with a key: requests/s")
    yield Measured(case, median(each.p99 for each in loads["ours"]), P99)


@contextmanager
def _bare(place: Ground, worker: str) -> Iterator[int]:
    module = "tests.bench.peers.flask_route"
    peer = Peer(worker, worker, lambda port: (sys.executable, "-m", module, str(port), str(SIZE), worker), protocol="raw")
    with running(peer, {}, place.folder / "flask_route.log", place.cores) as server:
        yield server.port


def _until_ready(port: int, key: str) -> None:
    """Wait until the process has read the key, and there is a snapshot."""
    for _ in range(100):
        try:
            load(port, 1, 0.01, key)
        except BenchError:
            time.sleep(0.1)
        else:
            return
    raise BenchError(f"{_PATH} does not answer with 200")


def load(port: int, connections: int, seconds: float, key: str = "") -> Load:
    """Repeat the request on each connection. Raises `BenchError` for another answer than 200."""
    credential = f"X-API-Key: {key}\r\n" if key else ""
    request = f"GET {_PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: */*\r\nUser-Agent: curl/8\r\n{credential}\r\n".encode()
    return exchange(port, [repeat(request)] * connections, seconds)


PART = Part(f"`GET {_PATH}`", _run)
