"""Hubs and stock clients of each kind.

`hub` and `client` are new for each test. They are for tests that stop the hub, fill it, change its
settings or assert that it is empty.

`shared_hub` serves all tests of a module, which must not break it. A test publishes instruments
that no other test of the module publishes, or begins a new epoch with `shared_bus`. In a new epoch
the hub keeps the old prices until it receives new ones: a test waits for the stamp of its price.

Redis sends live messages to the subscribers of all its databases. A hub skips numbered messages of
another database, because its own streams lack them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis as redis_client

from config.settings import Settings
from db.bus import Bus
from db.postgres import Store
from tests.conformance.http_client import Server
from tests.conftest import Servers, new_database, settings_for
from tests.support.access import Keys
from tests.support.bus import BusPlace
from tests.support.clients import NodeClient, PythonClient
from tests.support.processes import Web
from tests.support.servers import of_database

if TYPE_CHECKING:
    from tests.support.pages import Chromium, Pages

SHARED_REDIS_DATABASE = 1  # `hub` uses 0

_KINDS: dict[str, Callable[[str], PythonClient | NodeClient]] = {
    "python-websocket": lambda url: PythonClient(url),
    "node-websocket": lambda url: NodeClient(url),
    "node-polling": lambda url: NodeClient(url, ["polling"]),
}


@pytest.fixture
def bus_place(servers: Servers, raw_redis: redis_client.Redis) -> BusPlace:
    """The servers of `bus`; tests/integration/test_cluster.py has others."""
    return BusPlace(servers.redis_url, [raw_redis])


@pytest.fixture
def hub(settings: Settings, bus: Bus, tmp_path: Path) -> Iterator[Web]:
    """A hub with an empty bus, as an operator starts it."""
    with Web("hub", settings, tmp_path / "hub.log") as process:
        yield process


@pytest.fixture(params=_KINDS)
def client(request: pytest.FixtureRequest, hub: Web) -> Iterator[PythonClient | NodeClient]:
    """A client of `hub` that has received its greeting."""
    with _KINDS[request.param](hub.url) as client:
        client.wait("connection_established")
        yield client


@pytest.fixture(scope="module")
def shared_settings(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings with a PostgreSQL database and a Redis database for the shared hub alone.

    Redis keeps the last snapshot of the metrics for some seconds: without the first step, the hub
    of the next module would begin with it.
    """
    _empty_redis(servers).close()
    redis_url = of_database(servers.redis_url, SHARED_REDIS_DATABASE)
    with new_database(servers) as database_url:
        yield settings_for(database_url, redis_url, tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def shared_variables() -> dict[str, str]:
    """Further variables of the shared hub; a module may override them."""
    return {}


@pytest.fixture(scope="module")
def shared_hub(shared_settings: Settings, shared_variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """The hub of all tests of the module that do not break it."""
    with Web("hub", shared_settings, tmp_path_factory.mktemp("hub") / "hub.log", **shared_variables) as process:
        yield process


def _empty_redis(servers: Servers) -> redis_client.Redis:
    """Leave the instruments only in the Redis database of shared hubs; return a client of it."""
    client = redis_client.Redis.from_url(of_database(servers.operator_url, SHARED_REDIS_DATABASE), protocol=2)
    client.flushdb()
    bus = Bus(of_database(servers.redis_url, SHARED_REDIS_DATABASE), lambda: datetime.now(UTC))
    bus.set_instruments(servers.calendars)
    bus.close()
    return client


@pytest.fixture
def shared_redis(shared_settings: Settings, servers: Servers) -> Iterator[redis_client.Redis]:
    """The Redis database of the shared hub with the instruments only.

    The next message begins a new epoch.
    """
    client = _empty_redis(servers)
    yield client
    client.close()


@pytest.fixture
def shared_bus(shared_settings: Settings, shared_redis: redis_client.Redis, clock: Callable[[], datetime]) -> Iterator[Bus]:
    """The bus of the shared hub, in a new epoch."""
    bus = Bus(str(shared_settings.redis_url), clock)
    yield bus
    bus.close()


@pytest.fixture
def server(shared_hub: Web) -> Server:
    """The address of the shared hub, for requests of HTTP."""
    return Server("127.0.0.1", shared_hub.port)


@pytest.fixture(scope="module")
def shared_store(shared_settings: Settings) -> Iterator[Store]:
    """The store of the shared hub."""
    with closing(Store(str(shared_settings.database_url))) as store:
        yield store


@pytest.fixture
def keys(shared_store: Store, shared_bus: Bus) -> Keys:
    """Keys of the shared hub."""
    return Keys(shared_store, shared_bus)


@pytest.fixture(params=_KINDS)
def shared_client(request: pytest.FixtureRequest, shared_hub: Web) -> Iterator[PythonClient | NodeClient]:
    """A new client of `shared_hub` that has received its greeting."""
    with _KINDS[request.param](shared_hub.url) as client:
        client.wait("connection_established")
        yield client


@pytest.fixture
def pages(chromium: Chromium) -> Iterator[Pages]:
    """Pages of a test in the browser of the session: see `tests.support.pages.Pages`."""
    with chromium.opened() as pages:
        yield pages
        pages.check()
