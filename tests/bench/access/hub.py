"""The cost of credentials on the hub: the fan-out per delivery, and one connection.

The clients with and without credentials connect to one process in turn, so that the ratio is
independent of the process and of the order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from statistics import median

from db.bus import Bus
from tests.bench.access.credentials import ASYMMETRIC, SYMMETRIC, UNLIMITED, add_keys, token_settings, tokens
from tests.bench.bars import Bar, Measured, Part
from tests.bench.client import Plan
from tests.bench.control import LoadGenerator
from tests.bench.fanout import Ground
from tests.bench.feed import Feed
from tests.bench.measure import Session, traffic
from tests.bench.servers import PEERS, BenchError, Server

_CLIENTS, _KEYS = 500, 20
_PAIRS, _STEADY_SECONDS = 16, 3.0
_CONNECTIONS, _CONNECTION_PAIRS = 300, 16
_SETTLE_SECONDS = 0.5  # in which the hub handles the ends of connections

PER_DELIVERY = Bar("CPU per delivery ÷ without, median of pairs", 1.02)
PER_CONNECTION = "CPU per connection ÷ without"
API_KEY = Bar(PER_CONNECTION, 1.05)
HS256 = Bar(PER_CONNECTION, 1.1)
EDDSA = Bar(PER_CONNECTION, 1.3)


def _plans(port: int, count: int, credentials: Sequence[str], pairs: tuple[str, ...] = ()) -> list[Plan]:
    given = credentials or [""]
    return [Plan(port, "socketio", pairs, greeting=True, credential=given[number % len(given)]) for number in range(count)]


def _fanout(place: Ground, quick: bool) -> Iterator[Measured]:
    place.empty_bus()
    keys = [text for _, text in add_keys(place, _KEYS)]
    with closing(Bus(place.redis_url, lambda: datetime.now(UTC))) as bus:
        bus.set_instruments(dict.fromkeys(place.instruments, "fx"))
        feed = Feed(bus, place.instruments[:1], 1, 0.01)
        with place.server(PEERS["tickwire"], UNLIMITED) as server:
            sides: dict[bool, list[float]] = {False: [], True: []}  # with keys -> microseconds per delivery
            for number in range(2 * (1 if quick else _PAIRS)):
                with_keys = number % 4 in (1, 2)  # each side first in half of the pairs
                sides[with_keys].append(_delivery(server, feed, place.instruments[:1], keys if with_keys else ()))
    yield Measured("without keys", median(sides[False]), text="CPU per delivery, µs")
    yield Measured(f"{_CLIENTS} clients, {_KEYS} keys", median(sides[True]), text="CPU per delivery, µs")
    ratios = [with_them / without for without, with_them in zip(sides[False], sides[True], strict=True)]
    yield Measured(f"{_CLIENTS} clients, {_KEYS} keys", median(ratios), PER_DELIVERY)


def _delivery(server: Server, feed: Feed, instruments: tuple[str, ...], credentials: Sequence[str]) -> float:
    """Return the microseconds of the hub per delivery."""
    with LoadGenerator() as load:
        figures = traffic(Session(server, load, feed, _plans(server.port, _CLIENTS, credentials, instruments)), _STEADY_SECONDS)
    if figures.faults:
        raise BenchError("; ".join(figures.faults))
    time.sleep(_SETTLE_SECONDS)
    return figures.values["cpu_us"]


def _connect(place: Ground, quick: bool) -> Iterator[Measured]:
    place.empty_bus()
    keys = [text for _, text in add_keys(place, _KEYS)]
    known = tokens(SYMMETRIC, _CONNECTIONS)
    pairs = 2 if quick else _CONNECTION_PAIRS
    with place.server(PEERS["tickwire"], {**UNLIMITED, **token_settings(SYMMETRIC, place.folder)}) as server:
        yield from _connections(server, "API key", lambda: keys, API_KEY, pairs)
        yield from _connections(server, f"{SYMMETRIC}, known tokens", lambda: known, HS256, pairs)
        yield from _connections(server, f"{SYMMETRIC}, new tokens", lambda: tokens(SYMMETRIC, _CONNECTIONS), None, pairs)
    with place.server(PEERS["tickwire"], {**UNLIMITED, **token_settings(ASYMMETRIC, place.folder)}) as server:
        yield from _connections(server, f"{ASYMMETRIC}, new tokens", lambda: tokens(ASYMMETRIC, _CONNECTIONS), EDDSA, pairs)


def _connections(server: Server, case: str, make: Callable[[], Sequence[str]], bar: Bar | None, pairs: int) -> Iterator[Measured]:
    """Connect clients without and with credentials in turn, each side first in half of them."""
    without: list[float] = []
    with_them: list[float] = []
    with LoadGenerator() as load:
        for number in range(1 + pairs):
            sides = [(without, ()), (with_them, make())]
            for found, credentials in sides if number % 2 else reversed(sides):
                found.append(_connection_cpu(server, load, credentials))
    del without[0], with_them[0]  # the first pair warms up
    yield Measured(case, median(without), text="CPU per connection without, µs")
    yield Measured(case, median(with_them) - median(without), text="CPU per connection more, µs")
    yield Measured(case, median(with_them) / median(without), bar, PER_CONNECTION)


def _connection_cpu(server: Server, load: LoadGenerator, credentials: Sequence[str]) -> float:
    """Return the microseconds of the hub per connection."""
    cpu = server.cpu()
    load.connect(_plans(server.port, _CONNECTIONS, credentials))
    cpu = server.cpu() - cpu
    load.command("close")
    time.sleep(_SETTLE_SECONDS)
    return cpu / _CONNECTIONS * 1e6


FANOUT = Part("Fan-out", _fanout)
CONNECT = Part("Connections", _connect)
