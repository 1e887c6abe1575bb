"""The latency of prices with the observer and 1,000 metrics clients ÷ without them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from statistics import median

from db.bus import Bus
from tests.bench.bars import Bar, Measured, Part
from tests.bench.control import LoadGenerator
from tests.bench.fanout import Ground
from tests.bench.feed import Feed
from tests.bench.measure import Figures, Session
from tests.bench.observability.publisher import UNLIMITED_SOCKETS, observer, prepare
from tests.bench.observability.receivers import Receivers
from tests.bench.servers import PEERS, BenchError, Server
from tests.bench.shapes import SHAPES

RATIO = Bar("p99 of prices ÷ without", 1.1)
_METRICS_CLIENTS, _QUICK_METRICS_CLIENTS = 1000, 200
_SHAPE = SHAPES["a"]
_PAIRS, _SECONDS, _QUICK_SECONDS = 5, 10.0, 1.5


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    prepare(place)
    clients = _QUICK_METRICS_CLIENTS if quick else _METRICS_CLIENTS
    case = f"{_SHAPE.clients} clients, 100 prices/s"
    found: dict[bool, list[Figures]] = {False: [], True: []}
    with closing(Bus(place.redis_url, lambda: datetime.now(UTC))) as bus, place.server(PEERS["tickwire"], UNLIMITED_SOCKETS) as server:
        feed = Feed(bus, place.instruments[:1], 1, 0.01)
        for number in range(1 if quick else _PAIRS):
            for with_metrics in (False, True) if number % 2 else (True, False):
                found[with_metrics].append(_measure(place, server, feed, clients if with_metrics else 0, quick))
    without, with_them = ([each.values["p99_ms"] for each in found[kind]] for kind in (False, True))
    yield Measured(case, median(without), text="p99 of prices, ms")
    yield Measured(f"{case}, observer, {clients} metrics clients", median(with_them), text="p99 of prices, ms")
    ratios = [one / other for one, other in zip(with_them, without, strict=True)]
    yield Measured(f"{case}, observer, {clients} metrics clients", median(ratios), RATIO)


def _measure(place: Ground, server: Server, feed: Feed, metrics_clients: int, quick: bool) -> Figures:
    """Return the figures of prices, beside the clients of metrics if there are any."""
    with ExitStack() as stack:
        if metrics_clients:
            stack.enter_context(observer(place))
            stack.enter_context(Receivers(server.port, metrics_clients, "plain", idle=True))
        load = stack.enter_context(LoadGenerator())
        plans = _SHAPE.plans(place.instruments, server.peer, server.port)
        load.connect(plans)
        session = Session(server, load, feed, plans)
        session.phase(lambda: feed.steady(100), len(plans))
        figures = session.phase(lambda: feed.steady(round((_QUICK_SECONDS if quick else _SECONDS) / feed.beat)), len(plans))
    if figures.faults:
        raise BenchError("; ".join(figures.faults))
    time.sleep(0.5)
    return figures


PART = Part("Prices beside metrics", _run)
