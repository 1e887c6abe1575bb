"""The bus in shards: the tests of the bus on a single Redis and on a cluster, and its nodes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace

import pytest
import redis as redis_client

from config.urls import seeds_of
from db.bus import Bus, BusSetup
from tests.conftest import Servers
from tests.integration.test_bus import *  # noqa: F403  # every test of it runs here, on the servers below
from tests.support.bus import BusPlace
from tests.support.redis_servers import new_cluster

SETUPS = {
    "single-1": BusSetup(),
    "single-4": BusSetup(shards=4),
    "cluster-16": BusSetup(mode="cluster", shards=16, failover=True, channels="sharded"),
}


@pytest.fixture(scope="module")
def cluster_clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[redis_client.Redis]]]:
    """The seeds of a cluster of three masters, and a client of each."""
    with new_cluster(tmp_path_factory.mktemp("cluster")) as cluster, ExitStack() as stack:
        yield cluster.seeds, [stack.enter_context(server.client()) for server in cluster.masters]


@pytest.fixture(params=SETUPS)
def bus_place(request: pytest.FixtureRequest, servers: Servers) -> BusPlace:
    """Empty servers of the bus with the instruments only."""
    setup: BusSetup = SETUPS[request.param]
    if setup.mode == "cluster":
        url, clients = request.getfixturevalue("cluster_clients")
        place = BusPlace(url, clients, replace(setup, seeds=seeds_of(url)))
        place.flush()
    else:
        place = BusPlace(servers.redis_url, [request.getfixturevalue("raw_redis")], setup)
    with closing(place.bus()) as bus:
        bus.set_instruments(servers.calendars)
    return place


@pytest.fixture
def bus(bus_place: BusPlace) -> Iterator[Bus]:
    with closing(bus_place.bus()) as bus:
        yield bus
