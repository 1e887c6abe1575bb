"""The cost of metrics per delivery: two hubs side by side, one of them without metrics.

Both relay the same messages at the same time, so that everything else on the machine slows both
down. Pairs have new processes, because the figures of two equal processes differ too.
"""

from __future__ import annotations

import sys
import threading
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
from tests.bench.servers import PEERS, BenchError, Peer, Server
from tests.support.background import in_background

WITHOUT = Peer(
    "without",
    "Tickwire without metrics",
    lambda port: (sys.executable, "-m", "gunicorn", "-c", "config/gunicorn/hub.py", "tests.bench.operations.without:hub()"),
    greeting=True,
)
RATIO = Bar("fan-out CPU per delivery with metrics ÷ without, median of pairs", 1.02)
_CLIENTS = 500  # of each hub
_PAIRS, _SECONDS, _QUICK_SECONDS = 7, 10.0, 3.0
_BEAT = 0.01  # seconds between two prices
_WARM_SECONDS = 1.0
_SCRAPE_SECONDS = 5.0  # three times as often as Prometheus
_WAIT_SECONDS = 60.0  # for the rest of the deliveries


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    pairs = []
    for number in range(1 if quick else _PAIRS):
        place.empty_bus()
        sides = (PEERS["tickwire"], WITHOUT) if number % 2 else (WITHOUT, PEERS["tickwire"])
        with place.server(sides[0], UNLIMITED) as one, place.server(sides[1], UNLIMITED) as other:
            pairs.append(_deliveries(place, [one, other], _QUICK_SECONDS if quick else _SECONDS))
    case = f"{_CLIENTS} clients"
    yield Measured(case, median(pair[WITHOUT.key] for pair in pairs), text="CPU per delivery without metrics, µs")
    yield Measured(case, median(pair["tickwire"] for pair in pairs), text="CPU per delivery with metrics, µs")
    yield Measured(case, median(pair["tickwire"] / pair[WITHOUT.key] for pair in pairs), RATIO)


def _deliveries(place: Ground, servers: list[Server], seconds: float) -> dict[str, float]:
    """Return the microseconds of each hub per delivery, by the key of its peer."""
    plans = [Plan(server.port, "socketio", place.instruments[:1], greeting=True) for server in servers for _ in range(_CLIENTS)]
    with closing(Bus(place.redis_url, lambda: datetime.now(UTC))) as bus, LoadGenerator() as load:
        bus.set_instruments(dict.fromkeys(place.instruments, "fx"))
        feed = Feed(bus, place.instruments[:1], 1, _BEAT)
        load.connect(plans)
        _phase(load, feed, _WARM_SECONDS)
        with in_background(lambda stop: _scrape(servers, stop)):
            before = [server.cpu() for server in servers]
            count = _phase(load, feed, seconds)
            spent = [server.cpu() - cpu for server, cpu in zip(servers, before, strict=True)]
    return {server.peer.key: cpu / (count * _CLIENTS) * 1e6 for server, cpu in zip(servers, spent, strict=True)}


def _phase(load: LoadGenerator, feed: Feed, seconds: float) -> int:
    """Publish prices until every client of both hubs has them; return their number."""
    load.command("begin")
    count = feed.steady(round(seconds / _BEAT))
    complete = load.wait(2 * count * _CLIENTS, _WAIT_SECONDS)
    report = load.command("report")
    if not complete or report["problem_count"]:
        raise BenchError(f"{report['received']} of {2 * count * _CLIENTS} deliveries: {report['problems'][:1]}")
    return count


def _scrape(servers: list[Server], stop: threading.Event) -> None:
    """Scrape the hub with metrics every `_SCRAPE_SECONDS`, first in the middle of that time."""
    pause = _SCRAPE_SECONDS / 2
    [url] = [f"http://127.0.0.1:{server.port}/hub/metrics" for server in servers if server.peer is not WITHOUT]
    while not stop.wait(pause):
        pause = _SCRAPE_SECONDS
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310
            answer.read()


PART = Part("Fan-out", _run)
