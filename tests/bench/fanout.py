"""The benchmark of the fan-out: every shape on every peer, in rounds of rotating order."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import psycopg2
import redis as redis_client

from db import migrate, topics
from db.bus import Bus
from ops import embedded
from ops.supervisor import Supervisor
from tests.bench.control import LoadGenerator
from tests.bench.cores import Cores
from tests.bench.feed import Feed
from tests.bench.measure import Figures, Session
from tests.bench.servers import PEERS, BenchError, Peer, Server, running
from tests.bench.shapes import INSTRUMENTS, SHAPES, Shape
from tests.support.servers import add_operator

_MOST_CLIENTS = 5000


@dataclass(frozen=True, slots=True)
class Options:
    """The shapes and peers to run, by key; a run has `seconds` of steady load."""

    shapes: tuple[str, ...]
    peers: tuple[str, ...]
    rounds: int
    seconds: float
    deflate: bool = False  # clients offer permessage-deflate
    pin: bool = True  # one CPU is reserved for the server


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement."""

    shape: str
    peer: str
    round: int
    figures: Figures


@dataclass(frozen=True, slots=True)
class Ground:
    """The real PostgreSQL and Redis of all runs."""

    database_url: str
    redis_url: str
    operator_url: str  # of Redis, for a user with every right
    redis_pid: int
    folder: Path
    instruments: tuple[str, ...]
    cores: Cores

    def empty_bus(self) -> None:
        """Empty the bus before a run: a hub reads the streams when it starts."""
        with redis_client.Redis.from_url(self.operator_url, protocol=2) as client:
            client.flushall()

    @contextmanager
    def server(self, peer: Peer, extra: Mapping[str, str] = MappingProxyType({})) -> Iterator[Server]:
        """Start the peer, with further variables, and wait until it has subscribed to the bus."""
        before = self._subscribers()
        environ = {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "HUB_DATA_DIR": str(self.folder / "var"),
            "SOURCES": "",
            "WEBSOCKET_MAX_CLIENTS": str(_MOST_CLIENTS),
            **extra,
        }
        with running(peer, environ, self.folder / f"{peer.key}.log", self.cores) as server:
            deadline = time.monotonic() + 20
            while self._subscribers() <= before:
                if time.monotonic() > deadline:
                    raise BenchError(f"{peer.label} does not subscribe to {topics.PRICES}")
                time.sleep(0.02)
            yield server
        deadline = time.monotonic() + 20
        while self._subscribers() > before and time.monotonic() < deadline:  # Redis may still count the killed server
            time.sleep(0.02)

    @contextmanager
    def many_instruments(self, count: int) -> Iterator[tuple[str, ...]]:
        """Add instruments up to this number for the length of the block; yield all of them."""
        more = [f"MANY_{number:04}" for number in range(count - len(self.instruments))]
        _add_instruments(self.database_url, more)
        try:
            yield (*self.instruments, *more)
        finally:
            with closing(psycopg2.connect(self.database_url)) as connection, connection, connection.cursor() as cursor:
                cursor.execute("DELETE FROM instruments WHERE symbol = ANY(%s)", [more])

    def _subscribers(self) -> int:
        with redis_client.Redis.from_url(self.operator_url, protocol=2) as client:
            return int(dict(client.pubsub_numsub(topics.PRICES)).get(topics.PRICES.encode(), 0))


@contextmanager
def ground(pin: bool) -> Iterator[Ground]:
    """Start the embedded servers, with enough instruments for every shape."""
    cores = Cores(pin)
    with ExitStack() as stack:
        stack.callback(cores.restore)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tickwire-bench-")))
        supervisor = stack.enter_context(Supervisor())
        postgres, redis = embedded.postgres(folder), embedded.redis(folder)
        operator_url = add_operator(redis, folder)
        supervisor.start(postgres, redis)
        migrate.apply(postgres.url)
        yield Ground(postgres.url, redis.url, operator_url, supervisor.pids["redis"], folder, _instruments(postgres.url), cores)


def run_all(place: Ground, options: Options) -> Iterator[Run]:
    """Yield every measurement when it is complete.

    A round runs each shape on its peers. The order of the peers rotates from round to round.
    """
    plan = [
        (number, SHAPES[shape], PEERS[peer])
        for number in range(options.rounds)
        for shape in options.shapes
        if number < SHAPES[shape].most_rounds
        for peer in _rotated([key for key in SHAPES[shape].peers if key in options.peers], number)
        if number < PEERS[peer].most_rounds
    ]
    for done, (number, shape, peer) in enumerate(plan, start=1):
        with place.many_instruments(shape.topics) as instruments:
            figures = _run_one(place, instruments, shape, peer, options)
        _log(f"[{done}/{len(plan)}] round {number + 1} ({shape.key}) {peer.label}", figures)
        yield Run(shape.key, peer.key, number, figures)


def _run_one(place: Ground, instruments: Sequence[str], shape: Shape, peer: Peer, options: Options) -> Figures:
    place.empty_bus()
    with closing(Bus(place.redis_url, lambda: datetime.now(UTC))) as bus:
        bus.set_instruments(dict.fromkeys(instruments, "fx"))
        feed = Feed(bus, instruments[: shape.topics], shape.per_beat, shape.beat)
        try:
            with place.server(peer) as server, LoadGenerator(native=True) as load:
                plans = shape.plans(instruments, peer, server.port, deflate=options.deflate)
                return shape.measure(Session(server, load, feed, plans), options.seconds)
        except BenchError as error:
            first, _, rest = str(error).partition("\n")
            return Figures(faults=[f"{first} … {' '.join(rest.split())[-200:]}" if rest else first])


def _instruments(database_url: str) -> tuple[str, ...]:
    """Return the contract's instruments, filled up with generated ones."""
    with closing(psycopg2.connect(database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT symbol FROM instruments ORDER BY kind = 'fx' DESC, symbol")
        found = [symbol for (symbol,) in cursor.fetchall()]
    generated = [f"BENCH_{number:02}" for number in range(INSTRUMENTS - len(found))]
    _add_instruments(database_url, generated)
    return (*found, *generated)


def _add_instruments(database_url: str, symbols: Sequence[str]) -> None:
    with closing(psycopg2.connect(database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO instruments (symbol, name, kind, precision, source, currency, calendar)"
            " SELECT symbol, symbol, 'fx', 5, 'synthetic', 'USD', 'fx' FROM unnest(%s::text[]) AS symbol",
            [list(symbols)],
        )


def _rotated(keys: Sequence[str], by: int) -> list[str]:
    start = by % len(keys) if keys else 0
    return [*keys[start:], *keys[:start]]


def _log(title: str, figures: Figures) -> None:
    values = "  ".join(f"{name} {value:.4g}" for name, value in figures.values.items())
    notes = "".join(f"\n    {note}" for note in (*figures.faults, *figures.notes))
    print(f"{title}: {values}{notes}", file=sys.stderr, flush=True)
