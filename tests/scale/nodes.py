"""Redis: the rate of a publisher by shards, CPU per message and subscriber, the price of WAIT."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import orjson

from db import topics
from db.bus import BusSetup
from tests.bench.bars import Bar, Measured
from tests.bench.feed import Feed
from tests.bench.servers import ROOT, BenchError
from tests.scale.ground import REDIS_PORT, Ground, RedisNode

SHARDS = (1, 4, 16)
SUBSCRIBERS = (0, 4, 16)
UNCHANGED = Bar("rate at S = 1 ÷ the version before", 0.95, at_least=True)
_CHILD = Path(__file__).with_name("publish_child.py")
_TURNS, _TURN_SECONDS = 5, 1.0
_BEFORE, _CPU_RATIO = "before, S = 1", "CPU per message ÷ the version before"
_MESSAGES, _QUICK_MESSAGES = 20_000, 1_000
_BATCH = 20
_WAITED_BATCHES = (1, 100)
_PAIRS = 5  # of runs with and without WAIT, one after the other
_LINK_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Published:
    """A run of a publisher."""

    per_s: float
    cpu_us: float  # of publisher and Redis per message


def publish(place: Ground, quick: bool) -> Iterator[Measured]:
    """Measure one publisher at 1, 4 and 16 shards of one node, and that of the version before.

    Short runs of all of them take turns, and the median of the ratios counts.
    """
    variants = [(f"S = {shards}", ROOT, shards) for shards in SHARDS]
    if place.before:
        variants.insert(0, (_BEFORE, place.before, 1))
    found: dict[str, list[Published]] = {name: [] for name, _, _ in variants}
    for _ in range(1 if quick else _TURNS):
        for name, folder, shards in variants:
            found[name].append(_published(place, folder, shards, _TURN_SECONDS))
    for name, runs in found.items():
        yield Measured(name, median(run.per_s for run in runs), text="messages/s of one publisher, in batches of 100")
        yield Measured(name, median(run.cpu_us for run in runs), text="CPU µs per message, publisher and Redis")
    if place.before:
        now, before = found[variants[1][0]], found[_BEFORE]
        yield Measured("S = 1", median(ours.per_s / theirs.per_s for ours, theirs in zip(now, before, strict=True)), UNCHANGED)
        yield Measured("S = 1", median(ours.cpu_us / theirs.cpu_us for ours, theirs in zip(now, before, strict=True)), text=_CPU_RATIO)


def cost(place: Ground, quick: bool) -> Iterator[Measured]:
    """Measure Redis CPU per published message, and per message and subscriber."""
    count, found = _QUICK_MESSAGES if quick else _MESSAGES, dict[int, float]()
    for subscribers in SUBSCRIBERS:
        with place.redis() as node, _subscribers(place, node, subscribers), place.bus(node.url) as bus:
            feed = Feed(bus, place.instruments, _BATCH, 0.0)
            feed.steady(5)
            before = node.server.cpu()
            feed.steady(count // _BATCH)
            found[subscribers] = (node.server.cpu() - before) / (count // _BATCH * _BATCH) * 1e6
        yield Measured(f"{subscribers} subscribers", found[subscribers], text="CPU µs of Redis per message")
    most = SUBSCRIBERS[-1]
    yield Measured("each subscriber", (found[most] - found[0]) / most, text="CPU µs of Redis per message")


def wait(place: Ground, quick: bool) -> Iterator[Measured]:
    """Measure the share of WAIT for one replica in the time of a publish."""
    with place.redis("r1") as master, place.redis("r2", "--replicaof", master.address, str(REDIS_PORT)):
        _until_replicated(master)
        for size in _WAITED_BATCHES:
            times = {replicas: list[float]() for replicas in (0, 1)}
            for _ in range(1 if quick else _PAIRS):
                for replicas, kept in times.items():
                    with place.bus(master.url, BusSetup(wait_replicas=replicas, wait_ms=4000)) as bus:
                        kept.append(_batch_seconds(Feed(bus, place.instruments, size, 0.0), 20 if quick else 200))
            without, with_wait = (min(times[replicas]) for replicas in (0, 1))
            case = f"batches of {size}"
            yield Measured(case, with_wait * 1e3, text="ms per publish with WAIT 1")
            yield Measured(case, 1 - without / with_wait, text="share of WAIT")


def _batch_seconds(feed: Feed, batches: int) -> float:
    feed.steady(10)
    began = time.monotonic()
    feed.steady(batches)
    return (time.monotonic() - began) / batches


def _published(place: Ground, folder: Path, shards: int, seconds: float) -> Published:
    """Run a publisher with the code of a checkout, on this machine beside the network."""
    with place.redis() as node:
        environ = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
        argv = [sys.executable, str(_CHILD), node.url, str(shards), str(seconds), *place.instruments]
        before = node.server.cpu()
        done = subprocess.run(argv, env=environ, cwd=folder, check=True, capture_output=True, timeout=60 + seconds)
        run = orjson.loads(done.stdout)
        return Published(run["per_s"], run["cpu_us"] + (node.server.cpu() - before) / run["messages"] * 1e6)


def _until_replicated(master: RedisNode) -> None:
    deadline = time.monotonic() + _LINK_SECONDS
    with master.client() as client:
        while not int(client.execute_command("WAIT", 1, 1000)):
            if time.monotonic() > deadline:
                raise BenchError("the replica does not follow")


@contextmanager
def _subscribers(place: Ground, node: RedisNode, count: int) -> Iterator[None]:
    """Let that many connections on the host of the clients read the channel of prices."""
    argv = place.clients.argv(sys.executable, "-m", "tests.scale.subscribers", node.address, str(REDIS_PORT), str(count), topics.PRICES)
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE) as popen:
        try:
            assert popen.stdout is not None
            if popen.stdout.readline() != b"subscribed\n":
                raise BenchError("the subscribers do not connect")
            yield
        finally:
            popen.kill()
