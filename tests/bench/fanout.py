"""The benchmark of the fan-out: every shape on every peer, in rounds whose order rotates."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

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

_MOST_CLIENTS = 5000


@dataclass(frozen=True, slots=True)
class Options:
    """What to run: shapes and peers by key, `seconds` of steady load a run."""

    shapes: tuple[str, ...]
    peers: tuple[str, ...]
    rounds: int
    seconds: float
    deflate: bool = False  # clients offer permessage-deflate
    pin: bool = True  # the server has a CPU to itself


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement."""

    shape: str
    peer: str
    round: int
    figures: Figures


@dataclass(frozen=True, slots=True)
class Ground:
    """The real PostgreSQL and Redis under all of it."""

    database_url: str
    redis_url: str
    folder: Path
    instruments: tuple[str, ...]
    cores: Cores

    def empty_bus(self) -> None:
        """Every run starts from an empty bus: a hub reads what the streams hold."""
        with redis_client.Redis.from_url(self.redis_url, protocol=2) as client:
            client.flushall()

    @contextmanager
    def server(self, peer: Peer) -> Iterator[Server]:
        """The peer, started, and subscribed to the bus."""
        environ = {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "HUB_DATA_DIR": str(self.folder / "var"),
            "SOURCES": "",
            "WEBSOCKET_MAX_CLIENTS": str(_MOST_CLIENTS),
        }
        with running(peer, environ, self.folder / f"{peer.key}.log", self.cores) as server:
            self._await_subscriber(peer)
            yield server

    def _await_subscriber(self, peer: Peer) -> None:
        deadline = time.monotonic() + 20
        with redis_client.Redis.from_url(self.redis_url, protocol=2) as client:
            while dict(client.pubsub_numsub(topics.PRICES)).get(topics.PRICES.encode(), 0) < 1:
                if time.monotonic() > deadline:
                    raise BenchError(f"{peer.label} does not subscribe to {topics.PRICES}")
                time.sleep(0.02)


@contextmanager
def ground(pin: bool) -> Iterator[Ground]:
    """Start the embedded servers, with enough instruments for the widest shape."""
    cores = Cores(pin)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tickwire-bench-")))
        supervisor = stack.enter_context(Supervisor())
        postgres, redis = embedded.postgres(folder), embedded.redis(folder)
        supervisor.start(postgres, redis)
        migrate.apply(postgres.url)
        yield Ground(postgres.url, redis.url, folder, _instruments(postgres.url), cores)


def run_all(place: Ground, options: Options) -> Iterator[Run]:
    """Every measurement, as it is made. Within a round each shape goes through its peers; the first of them is another each round."""
    bus = Bus(place.redis_url, lambda: datetime.now(UTC))
    bus.set_instruments(dict.fromkeys(place.instruments, "fx"))
    plan = [
        (number, SHAPES[shape], PEERS[peer])
        for number in range(options.rounds)
        for shape in options.shapes
        for peer in _rotated([key for key in SHAPES[shape].peers if key in options.peers], number)
    ]
    for done, (number, shape, peer) in enumerate(plan, start=1):
        figures = _run_one(place, bus, shape, peer, options)
        _tell(f"[{done}/{len(plan)}] round {number + 1} ({shape.key}) {peer.label}", figures)
        yield Run(shape.key, peer.key, number, figures)
    bus.close()


def _run_one(place: Ground, bus: Bus, shape: Shape, peer: Peer, options: Options) -> Figures:
    place.empty_bus()
    instruments = place.instruments[: shape.topics]
    feed = Feed(bus, instruments, shape.per_beat, shape.beat)
    try:
        with place.server(peer) as server, LoadGenerator() as load:
            deflate = options.deflate and peer.protocol == "socketio"
            plans = shape.plans(instruments, port=server.port, protocol=peer.protocol, greeting=peer.greeting, deflate=deflate)
            return shape.measure(Session(server, load, feed, plans), options.seconds)
    except BenchError as error:
        first, _, rest = str(error).partition("\n")
        return Figures(faults=[f"{first} … {' '.join(rest.split())[-200:]}" if rest else first])


def _instruments(database_url: str) -> tuple[str, ...]:
    """The contract's instruments, and made-up ones until there are enough."""
    connection = psycopg2.connect(database_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT symbol FROM instruments ORDER BY kind = 'fx' DESC, symbol")
        found = [symbol for (symbol,) in cursor.fetchall()]
        made_up = [f"BENCH_{number:02}" for number in range(INSTRUMENTS - len(found))]
        for symbol in made_up:
            cursor.execute(
                "INSERT INTO instruments (symbol, name, kind, precision, source) VALUES (%s, %s, 'fx', 5, 'synthetic')", [symbol] * 2
            )
    connection.close()
    return (*found, *made_up)


def _rotated(keys: Sequence[str], by: int) -> list[str]:
    start = by % len(keys) if keys else 0
    return [*keys[start:], *keys[:start]]


def _tell(what: str, figures: Figures) -> None:
    values = "  ".join(f"{name} {value:.4g}" for name, value in figures.values.items())
    notes = "".join(f"\n    {note}" for note in (*figures.faults, *figures.notes))
    print(f"{what}: {values}{notes}", file=sys.stderr, flush=True)
