"""The cost of metrics per delivery: two hubs side by side, one of them without metrics.

Clients connect to the hubs in turn. Each round has new processes, because the figures of two equal
processes differ too.
"""

from __future__ import annotations

import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from statistics import median

from db.bus import Bus
from tests.bench.access.credentials import UNLIMITED
from tests.bench.bars import Bar, Measured, Part
from tests.bench.client import Plan
from tests.bench.control import LoadGenerator
from tests.bench.fanout import Ground
from tests.bench.feed import Feed
from tests.bench.measure import Session, traffic
from tests.bench.servers import PEERS, BenchError, Peer, Server
from tests.support.background import in_background

WITHOUT = Peer(
    "without",
    "Tickwire without metrics",
    lambda port: (sys.executable, "-m", "gunicorn", "-c", "config/gunicorn/hub.py", "tests.bench.operations.without:hub()"),
    greeting=True,
)
RATIO = Bar("fan-out CPU per delivery with metrics ÷ without, median of pairs", 1.02)
_CLIENTS = 500
_PROCESSES, _PAIRS, _SECONDS = 3, 6, 3.0
_SCRAPE_SECONDS = 5.0  # three times as often as Prometheus
_SETTLE_SECONDS = 0.5  # in which the hub handles the ends of connections


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    place.empty_bus()
    sides: dict[str, list[float]] = {PEERS["tickwire"].key: [], WITHOUT.key: []}  # microseconds per delivery
    with closing(Bus(place.redis_url, lambda: datetime.now(UTC))) as bus:
        bus.set_instruments(dict.fromkeys(place.instruments, "fx"))
        feed = Feed(bus, place.instruments[:1], 1, 0.01)
        for _ in range(1 if quick else _PROCESSES):
            with place.server(PEERS["tickwire"], UNLIMITED) as with_them, place.server(WITHOUT, UNLIMITED) as without:
                for number in range(2 * (1 if quick else _PAIRS)):
                    server = with_them if number % 4 in (1, 2) else without  # each side first in half of the pairs
                    sides[server.peer.key].append(_delivery(server, feed, place.instruments[:1]))
    with_metrics, bare = sides[PEERS["tickwire"].key], sides[WITHOUT.key]
    yield Measured(f"{_CLIENTS} clients", median(bare), text="CPU per delivery without metrics, µs")
    yield Measured(f"{_CLIENTS} clients", median(with_metrics), text="CPU per delivery with metrics, µs")
    yield Measured(f"{_CLIENTS} clients", median(one / other for one, other in zip(with_metrics, bare, strict=True)), RATIO)


def _delivery(server: Server, feed: Feed, instruments: tuple[str, ...]) -> float:
    """Return the microseconds of the hub per delivery, while it is scraped."""
    plans = [Plan(server.port, "socketio", instruments, greeting=True) for _ in range(_CLIENTS)]
    with LoadGenerator() as load, in_background(lambda stop: _scrape(server, stop)):
        figures = traffic(Session(server, load, feed, plans), _SECONDS)
    if figures.faults:
        raise BenchError("; ".join(figures.faults))
    time.sleep(_SETTLE_SECONDS)
    return figures.values["cpu_us"]


def _scrape(server: Server, stop: threading.Event) -> None:
    """Scrape the hub with metrics every `_SCRAPE_SECONDS`, first in the middle of the load."""
    pause = _SCRAPE_SECONDS / 2
    while not stop.wait(pause):
        pause = _SCRAPE_SECONDS
        if server.peer is not WITHOUT:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/hub/metrics", timeout=10) as answer:
                answer.read()


PART = Part("Fan-out", _run)
