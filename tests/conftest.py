"""Real PostgreSQL and Redis: one pair per session, an empty database and an empty bus per test."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import hypothesis
import psycopg2
import pytest
import redis as redis_client

from config import request_ids
from config import settings as settings_module
from config.loops import HEARTBEATS
from config.settings import Settings
from db import migrate
from db.bus import Bus
from db.instruments import all_instruments, calendars_of
from db.postgres import Store
from db.rights import OWNER, ROLES
from db.timestamps import utc_now
from jobs.runtime.garbage import collect_rarely
from ops import embedded
from ops.supervisor import Supervisor
from tests.support import order
from tests.support.databases import Databases
from tests.support.polling import until as until
from tests.support.servers import ROLE_PASSWORD, add_operator, equal_passwords, superuser_url

if TYPE_CHECKING:
    from xdist.remote import Producer

    from tests.support.pages import Chromium

# No deadline and no limit for the generation of examples: their time depends on the load of the
# machine. `same` tries the same examples in every run, so that a failure is reproducible.
_COMMON: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [hypothesis.HealthCheck.too_slow],
}
hypothesis.settings.register_profile("same", derandomize=True, max_examples=60, **_COMMON)
hypothesis.settings.register_profile("explore", print_blob=True, **_COMMON)
hypothesis.settings.register_profile("thorough", print_blob=True, max_examples=10_000, **_COMMON)
hypothesis.settings.load_profile("same")

# Our processes run with the packages of an operator's environment.
os.environ["PYTHONPATH"] = str(Path(__file__).parent / "support" / "operators_packages")
# Programs write plain text, also if CI=true or FORCE_COLOR asks them for colours.
os.environ["NO_COLOR"] = "1"
os.environ.pop("FORCE_COLOR", None)
# Python keeps the compiled modules, also if the environment prevents it: hundreds of processes
# would compile the same files.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
gc.disable()  # until all tests are collected: nothing of them is garbage

INVENTED_CHANNELS = ("level_updates", "moons")  # of tests that add a channel


@pytest.fixture(autouse=True, scope="module")
def heartbeats_of_the_module() -> Iterator[None]:
    """Stop watching the loops of a module's fixtures when it ends."""
    with _forgetting_loops():
        yield


@pytest.fixture(autouse=True)
def heartbeats() -> Iterator[None]:
    """Stop watching the loops of a test when it ends, as later tests would find them silent."""
    with _forgetting_loops():
        yield


@pytest.fixture(autouse=True)
def request_ids_of_the_test() -> Iterator[None]:
    """End the request whose answer the test has not closed: later log records would have its id."""
    yield
    request_ids.end()


@contextmanager
def _forgetting_loops() -> Iterator[None]:
    before = HEARTBEATS.watched()
    yield
    for loop in HEARTBEATS.watched() - before:
        HEARTBEATS.forget(loop)


@dataclass(frozen=True, slots=True)
class Servers:
    """The addresses of the servers of the session."""

    database_url: str  # of the owner
    redis_url: str
    operator_url: str  # of Redis, for a user with every right
    superuser_url: str
    calendars: Mapping[str, str]  # of the instruments that the schema brings
    databases: Databases


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order.arrange(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> order.UnitScheduling | None:
    """Give files that share a system to one worker; other values of --dist are those of xdist."""
    return order.UnitScheduling(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_finish() -> None:
    """Leave the objects of the collection out of every later search for garbage; search rarely."""
    gc.freeze()
    collect_rarely()
    gc.enable()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The embedded PostgreSQL and Redis, as `up` starts them; database `tickwire` is migrated."""
    folder = tmp_path_factory.mktemp("servers")
    equal_passwords(folder)
    with Supervisor() as supervisor:
        postgres, redis = embedded.postgres(folder), embedded.redis(folder)
        operator_url = add_operator(redis, folder, INVENTED_CHANNELS)
        supervisor.start(postgres, redis)
        superuser = superuser_url(folder, postgres.url)
        _prepare(superuser, operator_url)
        migrate.apply(postgres.url)
        store = Store(postgres.url)
        with store.transaction() as cursor:
            calendars = calendars_of(all_instruments(cursor))
        store.close()
        yield Servers(postgres.url, redis.url, operator_url, superuser, calendars, Databases(postgres.url))


def _prepare(superuser: str, operator: str) -> None:
    """Let the servers write without fsync and vacuum: no test restarts them on their data.

    The owner may create databases, and end and see sessions, as tests do. The passwords are hashed
    once instead of 4,096 times: tests make thousands of connections, of 4 ms of CPU time each.
    """
    with ExitStack() as stack:
        connection = psycopg2.connect(superuser)
        stack.callback(connection.close)
        connection.autocommit = True
        for statement in (
            "ALTER SYSTEM SET fsync = off",
            "ALTER SYSTEM SET autovacuum = off",
            "SELECT pg_reload_conf()",
            f"ALTER ROLE {OWNER} CREATEDB",
            f"GRANT pg_signal_backend, pg_read_all_stats TO {OWNER}",
            "SET scram_iterations = 1",
            *(f"ALTER ROLE {role} PASSWORD '{ROLE_PASSWORD}'" for role in ROLES),
        ):
            connection.cursor().execute(statement)
        client = stack.enter_context(redis_client.Redis.from_url(operator))
        client.config_set("appendfsync", "no")


@pytest.fixture
def clock() -> Callable[[], datetime]:
    return lambda: datetime.now(UTC)


@pytest.fixture
def raw_redis(servers: Servers) -> Iterator[redis_client.Redis]:
    """A Redis with the instruments only, through a client without the restrictions of `Bus`."""
    client = redis_client.Redis.from_url(servers.operator_url, protocol=2)
    client.flushall()
    client.script_flush()
    bus = Bus(servers.redis_url, lambda: datetime.now(UTC))
    bus.set_instruments(servers.calendars)
    bus.close()
    yield client
    client.close()


@contextmanager
def new_database(servers: Servers) -> Iterator[str]:
    """Yield the address of a database with the schema and no rows of a test."""
    with servers.databases.lent() as url:
        yield url


@pytest.fixture
def database_url(servers: Servers) -> Iterator[str]:
    """A database for the test alone, migrated and otherwise empty."""
    with new_database(servers) as url:
        yield url


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
    """Settings with the database of the test, an empty bus and no source."""
    return settings_for(database_url, servers.redis_url, tmp_path / "var")


def settings_for(database_url: str, redis_url: str, folder: Path) -> Settings:
    """Return settings with these servers, this data directory and no source."""
    environ = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "HUB_DATA_DIR": str(folder), "SOURCES": ""}
    return settings_module.load(environ, dotenv=None)


class Ground(NamedTuple):
    """A new database and an empty Redis without instruments, for processes that a test starts."""

    settings: Settings
    bus: Bus
    store: Store
    redis: redis_client.Redis  # with every right


@contextmanager
def new_ground(servers: Servers, folder: Path) -> Iterator[Ground]:
    """Yield a ground for the time of the block; `folder` is its data directory."""
    with ExitStack() as stack:
        client = stack.enter_context(redis_client.Redis.from_url(servers.operator_url, protocol=2))
        client.flushall()
        url = stack.enter_context(new_database(servers))
        bus = stack.enter_context(closing(Bus(servers.redis_url, utc_now)))
        store = stack.enter_context(closing(Store(url)))
        yield Ground(settings_for(url, servers.redis_url, folder), bus, store, client)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """The browser of the session. Without Chromium the test is skipped; with CI=true it fails."""
    from tests.support import pages  # loads Playwright

    browser = pages.Chromium(pages.require_chromium())
    yield browser
    browser.close()
