"""Batches that a replica confirms, owners of epochs, and errors of a changing topology."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from db import topics
from db.bus import Bus, BusError, BusSetup
from db.bus.confirmation import ALONE_SECONDS, NodesAlone
from db.bus.connection import Shared
from db.bus.errors import BusUnreplicated
from db.timestamps import utc_now
from health.reporter import bus_part
from tests.conftest import until
from tests.integration.test_bus import tick, trade
from tests.support.redis_servers import RedisServer, require_redis, running

CALENDARS = {"EUR_USD": "fx", "BTCUSDT": "crypto"}


class Pair:
    """A master and its replica."""

    def __init__(self, folder: Path) -> None:
        self.master = RedisServer(folder / "master")
        self.replica = RedisServer(folder / "replica", {"replicaof": f"{self.master.host} {self.master.port}"})

    def start(self) -> None:
        for server in (self.master, self.replica):
            server.start()
        self.until_replicas(1)

    def until_replicas(self, number: int) -> None:
        """Wait until this number of replicas is online."""
        with self.master.client() as client:

            def online() -> bool:
                info: Any = client.info("replication")
                return sum(1 for name, value in info.items() if name.startswith("slave") and value["state"] == "online") == number

            until(online, 20, f"{number} replicas")
            client.set("probe", 1)  # a replica that has just been synchronised confirms late
            assert client.wait(number, 10_000) >= number

    def bus(self, nodes_alone: NodesAlone | None = None, **setup: Any) -> Bus:
        chosen = {"failover": True, "wait_replicas": 1, "wait_ms": 100, **setup}
        return Bus(self.master.url, utc_now, setup=BusSetup(**chosen), shared=Shared(nodes_alone or NodesAlone()))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    require_redis()
    servers = Pair(tmp_path_factory.mktemp("pair"))
    with running(servers.master, servers.replica):
        servers.start()
        with closing(servers.bus()) as bus:
            bus.set_instruments(CALENDARS)
        yield servers


@pytest.fixture
def alone(pair: Pair) -> Iterator[Pair]:
    """The master without its replica; the replica returns after the test."""
    with pair.replica.client() as replica:
        replica.replicaof("NO", "ONE")
        pair.until_replicas(0)
        yield pair
        replica.replicaof(pair.master.host, pair.master.port)
    pair.until_replicas(1)


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_accepted_batch_is_in_the_memory_of_the_replica(pair: Pair) -> None:
    with closing(pair.bus()) as bus, pair.replica.client() as replica:
        for number in range(20):
            stamp = bus.publish_prices([tick(number)])[0]
            kept: Any = replica.hget(topics.NUMBERS_KEY, topics.number_field(topics.PRICES, "EUR_USD"))
            assert int(kept) == stamp.seq


@pytest.mark.parametrize("strict", [False, True])
def test_batch_without_confirmation_is_accepted_when_it_is_repeated(pair: Pair, strict: bool) -> None:
    with closing(pair.bus(strict=strict)) as bus, pair.replica.client() as replica:
        before = bus.publish_prices([tick(1)])[0].seq
        replica.replicaof("NO", "ONE")
        pair.until_replicas(0)
        for _ in range(2):
            with pytest.raises(BusUnreplicated):
                bus.publish_prices([tick(2)], f"strict-{strict}/1")
        with pytest.raises(BusUnreplicated):
            bus.publish_trades([trade(1)], f"strict-{strict}/1")
        replica.replicaof(pair.master.host, pair.master.port)
        pair.until_replicas(1)
        assert [stamp.seq for stamp in bus.publish_prices([tick(2)], f"strict-{strict}/1")] == [before + 1]  # not published twice
        assert bus.publish_prices([tick(3)])[0].seq == before + 2


def test_node_without_replica_accepts_after_five_seconds_until_one_is_connected(alone: Pair, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "db.bus.confirmation")
    time = Time()
    with closing(alone.bus(NodesAlone(time))) as bus:
        short = bus.with_timeout(1)
        with pytest.raises(BusUnreplicated):
            bus.publish_prices([tick(1)], "source/1")
        time.now = ALONE_SECONDS
        assert len(bus.publish_prices([tick(1)], "source/1")) == 1
        assert len(bus.publish_prices([tick(2)], "source/2")) == 1
        assert bus.unreplicated_nodes == short.unreplicated_nodes == {f"{alone.master.host}:{alone.master.port}"}
        assert bus.measured.unreplicated.values() == {(): 2}
        with alone.replica.client() as replica:
            replica.replicaof(alone.master.host, alone.master.port)
        alone.until_replicas(1)
        bus.publish_prices([tick(3)])
        assert bus.unreplicated_nodes == frozenset()
        assert bus.measured.unreplicated.values() == {(): 2}
    levels = [(record.levelname, record.getMessage().partition(":")[0]) for record in caplog.records]
    assert levels == [("WARNING", "no replica is connected"), ("INFO", "recovered")]


def test_return_of_a_replica_is_noticed_without_a_batch(alone: Pair) -> None:
    time = Time()
    with closing(alone.bus(NodesAlone(time))) as bus:
        with pytest.raises(BusUnreplicated):
            bus.publish_prices([tick(1)], "seldom/1")
        time.now = ALONE_SECONDS
        assert len(bus.publish_prices([tick(1)], "seldom/1")) == 1
        part = {"bus": {"unreplicated": [f"{alone.master.host}:{alone.master.port}"]}}
        assert bus_part(bus) == part  # still without a replica
        with alone.replica.client() as replica:
            replica.replicaof(alone.master.host, alone.master.port)
        alone.until_replicas(1)
        assert bus_part(bus) == {}


def test_server_that_is_no_master_any_more_is_not_reported(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "db.bus.confirmation")
    time = Time()
    nodes_alone = NodesAlone(time)
    nodes_alone.note("gone:6379", alone=True)
    time.now = ALONE_SECONDS
    assert nodes_alone.note("gone:6379", alone=True)
    with closing(pair.bus(nodes_alone)) as bus:
        assert bus.unreplicated_nodes == {"gone:6379"}
        assert bus_part(bus) == {}
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_strict_node_without_replica_never_accepts(alone: Pair) -> None:
    time = Time()
    with closing(alone.bus(NodesAlone(time), strict=True)) as bus:
        for now in (0.0, ALONE_SECONDS, 100 * ALONE_SECONDS):
            time.now = now
            with pytest.raises(BusUnreplicated):
                bus.publish_prices([tick(1)], "source/1")
        assert bus.unreplicated_nodes == frozenset()


def test_epoch_ends_if_another_server_owns_the_numbers(pair: Pair) -> None:
    with closing(pair.bus()) as bus, pair.master.client() as master:
        first = bus.publish_prices([tick(1)])[0]
        info: Any = master.info("server")
        owner: Any = master.hget(topics.NUMBERS_KEY, "owner")
        assert owner.decode() == info["run_id"]
        master.hset(topics.NUMBERS_KEY, "owner", "another")
        second, third = bus.publish_prices([tick(2)])[0], bus.publish_prices([tick(3)])[0]
        assert (second.seq, third.seq) == (1, 2)
        assert first.epoch != second.epoch == third.epoch
        assert bus.renew_epoch(third.epoch) is not None
        assert master.hget(topics.NUMBERS_KEY, "owner") == owner


def test_numbers_without_an_owner_keep_their_epoch(pair: Pair) -> None:
    with closing(pair.bus(failover=False, wait_replicas=0)) as plain, closing(pair.bus()) as bus, pair.master.client() as master:
        master.delete(topics.NUMBERS_KEY)
        before = plain.publish_prices([tick(1)])[0]
        assert master.hget(topics.NUMBERS_KEY, "owner") is None
        after = bus.publish_prices([tick(2)])[0]
        assert (after.epoch, after.seq) == (before.epoch, before.seq + 1)


def test_readonly_server_is_a_moved_bus(pair: Pair) -> None:
    with closing(Bus(pair.replica.url, utc_now)) as bus:
        with pytest.raises(BusError) as raised:
            bus.publish("data_ready", "hourly", {})
        assert raised.value.reason == "moved"


def test_script_of_a_flushed_cache_is_loaded_again(pair: Pair) -> None:
    with closing(pair.bus()) as bus, pair.master.client() as master:
        first = bus.publish_prices([tick(1)])[0]
        master.script_flush()
        assert bus.publish_prices([tick(2)])[0] == replace(first, seq=first.seq + 1)
