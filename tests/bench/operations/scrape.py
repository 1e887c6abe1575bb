"""The time of an answer of `/hub/metrics`: the CPU of the hub for it, less that of `/hub/live`."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from contextlib import closing
from statistics import median

from tests.bench.access.credentials import UNLIMITED
from tests.bench.bars import Bar, Measured, Part
from tests.bench.client import Plan
from tests.bench.control import LoadGenerator
from tests.bench.fanout import Ground
from tests.bench.servers import PEERS, BenchError, Server

RENDERING = Bar("rendering `/hub/metrics`, CPU ms", 2.0)
_CLIENTS = (0, 500, 4000)
_SCRAPES, _QUICK_SCRAPES = 60, 10
_SETTLE_SECONDS = 3.0  # for the work after the connections


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    place.empty_bus()
    scrapes = _QUICK_SCRAPES if quick else _SCRAPES
    for clients in _CLIENTS:
        with place.server(PEERS["tickwire"], UNLIMITED) as server, LoadGenerator() as load:
            if clients:
                load.connect([Plan(server.port, "socketio", place.instruments[:2], greeting=True) for _ in range(clients)])
            time.sleep(_SETTLE_SECONDS)
            with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
                series = _get(connection, "/hub/metrics").count(b"\n") - 2 * _get(connection, "/hub/metrics").count(b"# HELP")
                idle = median(_cpu_ms(server, connection, "/hub/live") for _ in range(scrapes))
                whole = median(_cpu_ms(server, connection, "/hub/metrics") for _ in range(scrapes))
        case = f"{clients:,} clients"
        yield Measured(case, series, text="series of the answer")
        # With many clients the walk over them has pauses, so its time is no pause of the loop.
        yield Measured(case, whole - idle, RENDERING if clients <= _CLIENTS[1] else None, RENDERING.text)


def _cpu_ms(server: Server, connection: http.client.HTTPConnection, path: str) -> float:
    before = server.cpu()
    _get(connection, path)
    return (server.cpu() - before) * 1e3


def _get(connection: http.client.HTTPConnection, path: str) -> bytes:
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise BenchError(f"{path}: {answer.status}: {body[:300]!r}")
    return body


PART = Part("Scrape of a hub", _run)
