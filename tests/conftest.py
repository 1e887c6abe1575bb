"""Real PostgreSQL and Redis for every test that asks: one pair a session, an empty database and an empty bus a test."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import hypothesis
import psycopg2
import pytest
import redis as redis_client

from config import settings as settings_module
from config.settings import Settings
from db import migrate
from db.bus import Bus
from db.instruments import all_instruments
from db.postgres import Store
from ops import embedded
from ops.supervisor import Supervisor

# How long an example takes says how busy the machine is, nothing else. The same examples every time: what fails once fails again.
hypothesis.settings.register_profile("same", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, print_blob=True)
hypothesis.settings.load_profile("same")

PATIENCE = 2.5  # times what a test takes for long enough: several suites may share the machine

_names = itertools.count()


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the session's servers are."""

    database_url: str
    redis_url: str
    kinds: Mapping[str, str]  # of the instruments that the schema brings


def until(condition: Callable[[], object], seconds: float = 20.0, what: str | Callable[[], str] = "the condition") -> object:
    """Poll until `condition()` is true and return what it gave; fail after a deadline that only a broken program reaches.

    `what` was waited for; a function says it as it is when the deadline has passed.
    """
    deadline = time.monotonic() + PATIENCE * seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what if isinstance(what, str) else what()} did not come true within {PATIENCE * seconds} s")
        time.sleep(0.01)
    return value


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """A PostgreSQL whose database `tickwire` has the schema, and a Redis; the embedded ones, as `up` starts them."""
    folder = tmp_path_factory.mktemp("servers")
    with Supervisor() as supervisor:
        postgres, redis = embedded.postgres(folder), embedded.redis(folder)
        supervisor.start(postgres, redis)
        migrate.apply(postgres.url)
        store = Store(postgres.url)
        with store.transaction() as cursor:
            kinds = {instrument.symbol: instrument.kind for instrument in all_instruments(cursor)}
        store.close()
        yield Servers(postgres.url, redis.url, kinds)


@pytest.fixture
def clock() -> Callable[[], datetime]:
    return lambda: datetime.now(UTC)


@pytest.fixture
def raw_redis(servers: Servers) -> Iterator[redis_client.Redis]:
    """A Redis with the instruments alone, through a client that can do what `Bus` would never do."""
    client = redis_client.Redis.from_url(servers.redis_url, protocol=2)
    client.flushall()
    client.script_flush()
    bus = Bus(servers.redis_url, lambda: datetime.now(UTC))
    bus.set_instruments(servers.kinds)
    bus.close()
    yield client
    client.close()


@pytest.fixture
def database_url(servers: Servers) -> Iterator[str]:
    """A database of the test's own, migrated and otherwise empty."""
    name = f"test_{next(_names)}"
    _on_server(servers, f"CREATE DATABASE {name} TEMPLATE tickwire")
    yield servers.database_url.rsplit("/", 1)[0] + f"/{name}"
    _on_server(servers, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def bus(servers: Servers, raw_redis: redis_client.Redis, clock: Callable[[], datetime]) -> Iterator[Bus]:
    bus = Bus(servers.redis_url, clock)
    yield bus
    bus.close()


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    store = Store(database_url)
    yield store
    store.close()


@pytest.fixture
def settings(servers: Servers, database_url: str, raw_redis: redis_client.Redis, tmp_path: Path) -> Settings:
    """Settings that point at the test's own database and an empty bus, with no source."""
    environ = {"DATABASE_URL": database_url, "REDIS_URL": servers.redis_url, "HUB_DATA_DIR": str(tmp_path / "var"), "SOURCES": ""}
    return settings_module.load(environ, dotenv=None)


def _on_server(servers: Servers, statement: str) -> None:
    with ExitStack() as stack:
        connection = psycopg2.connect(servers.database_url.rsplit("/", 1)[0] + "/postgres")
        stack.callback(connection.close)
        connection.autocommit = True
        connection.cursor().execute(statement)
