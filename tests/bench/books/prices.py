"""The latency of prices with six books at 10 Hz ÷ without them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from statistics import median

from db.bus import Bus
from tests.bench.bars import Bar, Measured, Part
from tests.bench.books.publisher import DEPTH, INSTRUMENTS, publishing
from tests.bench.client import Plan
from tests.bench.control import LoadGenerator
from tests.bench.fanout import Ground
from tests.bench.feed import Feed
from tests.bench.measure import Figures, Session
from tests.bench.servers import PEERS, BenchError, Server
from tests.bench.shapes import SHAPES

RATIO = Bar("p99 of prices ÷ without books", 1.1)
_SHAPE = SHAPES["a"]
_BOOK_CLIENTS = 50
_PAIRS, _SECONDS, _QUICK_SECONDS = 5, 10.0, 2.0
_CASE = f"{_SHAPE.clients} clients, 100 prices/s"
_WITH = f"{_CASE}, {len(INSTRUMENTS)} books at 10 Hz for {_BOOK_CLIENTS} clients"


def _run(place: Ground, quick: bool) -> Iterator[Measured]:
    place.empty_bus()
    found: dict[bool, list[float]] = {False: [], True: []}
    with closing(Bus(place.redis_url, lambda: datetime.now(UTC))) as bus:
        bus.set_instruments({**dict.fromkeys(place.instruments, "fx"), **dict.fromkeys(INSTRUMENTS, "crypto")})
        with place.server(PEERS["tickwire"]) as server:
            feed = Feed(bus, place.instruments[:1], 1, 0.01)
            for number in range(1 if quick else _PAIRS):
                for with_books in (False, True) if number % 2 else (True, False):
                    figures = _measure(place, server, feed, with_books=with_books, quick=quick)
                    found[with_books].append(figures.values["p99_ms"])
    yield Measured(_CASE, median(found[False]), text="p99 of prices, ms")
    yield Measured(_WITH, median(found[True]), text="p99 of prices, ms")
    yield Measured(_WITH, median(one / other for one, other in zip(found[True], found[False], strict=True)), RATIO)


def _measure(place: Ground, server: Server, feed: Feed, *, with_books: bool, quick: bool) -> Figures:
    """Return the figures of prices, beside the books and their clients if there are any."""
    with ExitStack() as stack:
        if with_books:
            stack.enter_context(publishing(place.redis_url))
            readers = stack.enter_context(LoadGenerator(idle=True))
            plan = Plan(port=server.port, protocol="socketio", books=INSTRUMENTS, depth=DEPTH, greeting=True)
            readers.connect([plan] * _BOOK_CLIENTS)
        load = stack.enter_context(LoadGenerator())
        plans = _SHAPE.plans(place.instruments, server.peer, server.port)
        load.connect(plans)
        session = Session(server, load, feed, plans)
        session.phase(lambda: feed.steady(100), len(plans))
        figures = session.phase(lambda: feed.steady(round((_QUICK_SECONDS if quick else _SECONDS) / feed.beat)), len(plans))
        if with_books and readers.command("report")["problem_count"]:
            raise BenchError(f"books: {readers.command('report')['problems'][0]}")
    if figures.faults:
        raise BenchError("; ".join(figures.faults))
    time.sleep(0.5)
    return figures


PART = Part("Prices beside books", _run)
