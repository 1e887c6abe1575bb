"""`GET /metrics` about five processes, and the size of the report of each."""

from __future__ import annotations

import http.client
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from signal import Signals
from statistics import median

import orjson
import redis as redis_client

from db import topics
from ops.children import kill_group, spawn, tail
from tests.bench.access.credentials import UNLIMITED
from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground
from tests.bench.reads import web
from tests.bench.servers import PEERS, BenchError

ANSWER = Bar("`GET /metrics`, scope `all`, five processes: median ms", 50.0)
REPORT = Bar("largest report to Redis, KiB", 64.0)
_MODULES = ("jobs.scheduler", "jobs.observer", "jobs.books")
_SCRAPES, _QUICK_SCRAPES = 100, 20
_START_SECONDS = 60.0
_PAUSE_SECONDS = 0.05


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    place.empty_bus()
    with ExitStack() as stack:
        for module in _MODULES:
            stack.enter_context(_process(place, module))
        stack.enter_context(place.server(PEERS["tickwire"], UNLIMITED))
        port, _ = stack.enter_context(web(place, "tickwire", UNLIMITED))
        connection = stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)))
        _await_all(place)
        times = []
        for _ in range(_QUICK_SCRAPES if quick else _SCRAPES):
            began = time.perf_counter()
            body = _get(connection)
            times.append((time.perf_counter() - began) * 1e3)
            time.sleep(_PAUSE_SECONDS)
        reports = _reports(place)
    case = f"{len(reports)} processes, {body.count(b'process=')} series of the others"
    yield Measured(case, sorted(times)[len(times) * 95 // 100], text="p95 ms")
    yield Measured(case, median(times), ANSWER)
    for name, text in sorted(reports.items()):
        yield Measured(name.partition("@")[0].partition(":")[0], len(text) / 1024, text="report, KiB")
    yield Measured(case, max(map(len, reports.values())) / 1024, REPORT)


@contextmanager
def _process(place: Ground, module: str) -> Iterator[None]:
    environ = {"DATABASE_URL": place.database_url, "REDIS_URL": place.redis_url, "HUB_DATA_DIR": str(place.folder / "var"), "SOURCES": ""}
    log = place.folder / f"{module}.log"
    popen = spawn((sys.executable, "-m", module), env={**os.environ, **environ}, log_file=log, inherit=(), death_signal=Signals.SIGKILL)
    try:
        yield
        if popen.poll() is not None:
            raise BenchError(f"{module} has ended{tail(log)}")
    finally:
        kill_group(popen.pid)
        popen.wait()


def _await_all(place: Ground) -> None:
    """Wait until each of the five processes reports its metrics."""
    deadline = time.monotonic() + _START_SECONDS
    while sum("families" in orjson.loads(text)["metrics"] for text in _reports(place).values()) < len(_MODULES) + 2:
        if time.monotonic() > deadline:
            raise BenchError(f"only {sorted(_reports(place))} report metrics")
        time.sleep(0.2)


def _reports(place: Ground) -> dict[str, bytes]:
    """Return name -> report of each process."""
    with redis_client.Redis.from_url(place.operator_url, protocol=2) as client:
        keys = client.keys(topics.process_key("*"))
        return {key.decode().removeprefix(topics.process_key("")): text for key in keys if (text := client.get(key)) is not None}


def _get(connection: http.client.HTTPConnection) -> bytes:
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise BenchError(f"/metrics: {answer.status}: {body[:300]!r}")
    return body


PART = Part("All processes", _run)
