"""The cost of credentials on the hub: the fan-out per delivery, and one connection.

The clients with and without credentials connect to one process in turn, so that the ratio is
independent of the process and of the order.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
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
_PAIRS, _STEADY_SECONDS = 4, 3.0
_CONNECTIONS = 300
_SETTLE_SECONDS = 0.5  # in which the hub handles the ends of connections

PER_DELIVERY = Bar("CPU per delivery ÷ without", 1.02)
API_KEY = Bar("CPU per connection ÷ without", 1.05)
HS256 = Bar("CPU per connection ÷ without ", 1.1)
EDDSA = Bar("CPU per connection ÷ without, not cached", 1.3)


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
            pairs = [_deliveries(server, feed, place.instruments[:1], keys) for _ in range(1 if quick else _PAIRS)]
    yield Measured("without keys", median(without for without, _ in pairs), text="CPU per delivery, µs")
    yield Measured(f"{_CLIENTS} clients, {_KEYS} keys", median(with_keys for _, with_keys in pairs), text="CPU per delivery, µs")
    yield Measured(f"{_CLIENTS} clients, {_KEYS} keys", median(with_keys / without for without, with_keys in pairs), PER_DELIVERY)


def _deliveries(server: Server, feed: Feed, instruments: tuple[str, ...], keys: Sequence[str]) -> tuple[float, float]:
    """Return the microseconds per delivery without keys and with them."""
    found = []
    for credentials in ((), keys):
        with LoadGenerator() as load:
            figures = traffic(Session(server, load, feed, _plans(server.port, _CLIENTS, credentials, instruments)), _STEADY_SECONDS)
        if figures.faults:
            raise BenchError("; ".join(figures.faults))
        found.append(figures.values["cpu_us"])
        time.sleep(_SETTLE_SECONDS)
    return found[0], found[1]


def _connect(place: Ground, quick: bool) -> Iterator[Measured]:
    place.empty_bus()
    keys = [text for _, text in add_keys(place, _KEYS)]
    repeats = 2 if quick else 6
    with place.server(PEERS["tickwire"], {**UNLIMITED, **token_settings(SYMMETRIC, place.folder)}) as server:
        yield from _connections(server, "API key", [keys] * repeats, API_KEY)
        yield from _connections(server, SYMMETRIC, [tokens(SYMMETRIC, _CONNECTIONS) for _ in range(repeats)], HS256)
    with place.server(PEERS["tickwire"], {**UNLIMITED, **token_settings(ASYMMETRIC, place.folder)}) as server:
        yield from _connections(server, ASYMMETRIC, [tokens(ASYMMETRIC, _CONNECTIONS) for _ in range(repeats)], EDDSA)


def _connections(server: Server, case: str, credentials: Sequence[Sequence[str]], bar: Bar) -> Iterator[Measured]:
    """Connect clients without and with credentials in turn; the first pair warms up."""
    pairs = [(_connection_cpu(server, ()), _connection_cpu(server, each)) for each in (credentials[0], *credentials)][1:]
    yield Measured(case, median(without for without, _ in pairs), text="CPU per connection without, µs")
    yield Measured(case, median(with_them / without for without, with_them in pairs), bar)


def _connection_cpu(server: Server, credentials: Sequence[str]) -> float:
    """Return the microseconds of the hub per connection."""
    with LoadGenerator() as load:
        cpu = server.cpu()
        load.connect(_plans(server.port, _CONNECTIONS, credentials))
        cpu = server.cpu() - cpu
    time.sleep(_SETTLE_SECONDS)
    return cpu / _CONNECTIONS * 1e6


FANOUT = Part("Fan-out", _fanout)
CONNECT = Part("Connections", _connect)
