"""The observer: jitter of its snapshots, CPU for building them, and memory after a day."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from statistics import median

import orjson
import redis as redis_client

from db import topics
from db.bus import Bus
from db.timestamps import parse_time
from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground
from tests.bench.feed import Feed
from tests.bench.observability.publisher import observer, prepare
from tests.bench.peers.snapshots import TICK_SECONDS
from tests.bench.servers import ROOT, BenchError
from tests.support.background import in_background

JITTER = Bar("jitter of snapshots, p99, ms", 20)
CPU = Bar("CPU for building snapshots at 10 Hz, % of a core", 1.0)
FLAT = Bar("memory after 24 h ÷ after 6 h", 1.02)
_SECONDS, _QUICK_SECONDS = 20.0, 5.0
_SYMBOLS = 30
_REPLAY_SECONDS = 300.0


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    prepare(place)
    case = f"{_SYMBOLS} symbols, 30 prices/s"
    with observer(place) as server, _prices(place):
        server.find_processes()
        time.sleep(2)
        cpu, began = server.cpu(), time.monotonic()
        jitters = sorted(_jitters(place, _QUICK_SECONDS if quick else _SECONDS))
        cpu = (server.cpu() - cpu) / (time.monotonic() - began)
    yield Measured(case, median(jitters), text="jitter of snapshots, p50, ms")
    yield Measured(case, jitters[len(jitters) * 99 // 100], JITTER)
    yield Measured(case, cpu * 100, text="CPU of the whole observer, % of a core")
    building = _replay(place, "build", "5" if quick else "10")
    yield Measured(f"{_SYMBOLS} symbols, 10 strategies", building["us"], text="CPU of one snapshot, µs")
    yield Measured(f"{_SYMBOLS} symbols, 10 strategies", building["us"] / TICK_SECONDS / 1e4, CPU)
    with _without_disk(place):
        day = _replay(place, "day", "3600" if quick else "86400")
    yield Measured("replay", day["mb"], text="memory of the observer's parts, MB")
    yield Measured("replay", day["ratio"], FLAT)


@contextmanager
def _without_disk(place: Ground) -> Iterator[None]:
    """Let Redis answer before it has written to the disk, for which the replay would wait."""
    with redis_client.Redis.from_url(place.operator_url, protocol=2) as client:
        client.config_set("appendfsync", "no")
        try:
            yield
        finally:
            client.config_set("appendfsync", "always")


@contextmanager
def _prices(place: Ground) -> Iterator[None]:
    """Publish 30 prices per second."""

    def publish(stop: threading.Event) -> None:
        with closing(Bus(place.redis_url, lambda: datetime.now(UTC))) as bus:
            feed = Feed(bus, place.instruments[:_SYMBOLS], 3, TICK_SECONDS)
            while not stop.wait(TICK_SECONDS):
                feed.publish(3)

    with in_background(publish):
        yield


def _jitters(place: Ground, seconds: float) -> list[float]:
    """Return the differences between the intervals of snapshots and 100 ms, in milliseconds."""
    times = []
    with closing(Bus(place.redis_url, lambda: datetime.now(UTC))) as bus, closing(bus.subscribe([topics.METRICS])) as subscription:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            times += [parse_time(orjson.loads(body)["timestamp"]).timestamp() for _, body in subscription.read(1.0)]
    return [abs(after - before - TICK_SECONDS) * 1e3 for before, after in pairwise(times)]


def _replay(place: Ground, kind: str, argument: str) -> dict[str, float]:
    """Run the parts of the observer in a process of their own; return its figures."""
    argv = [sys.executable, "-m", "tests.bench.observability.replay", place.database_url, place.redis_url, kind, argument]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, timeout=_REPLAY_SECONDS, check=False)
    if done.returncode:
        raise BenchError(f"the replay failed: {done.stderr.decode()[-2000:]}")
    found: dict[str, float] = orjson.loads(done.stdout)
    return found


PART = Part("Observer", _run)
