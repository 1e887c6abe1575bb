"""Faults of a Redis Cluster: a kill, a partition and a migration of slots, under publishers."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from db import topics
from db.bus import Bus, BusError, BusSetup
from db.shards import SLOTS, shard_of, sharded_key, slot_of
from db.timestamps import utc_now
from tests.conftest import until
from tests.support.cluster_publisher import Accepted, publishing
from tests.support.namespaces import Host, Network, unavailable
from tests.support.redis_servers import CLUSTER_OPTIONS, Cluster, RedisServer, new_cluster, require_redis, running

SHARDS, MASTERS = 16, 3
OPTIONS = {**CLUSTER_OPTIONS, "appendonly": "no"}
NAMES = [f"INST_{number:02}" for number in range(40)]


def master_of(name: str) -> int:
    """The number of the master that has the prices of the instrument, before any fault."""
    key = sharded_key(topics.NUMBERS_KEY, shard_of(name, SHARDS), SHARDS)
    return slot_of(key.encode()) * MASTERS // SLOTS


OF_FIRST_MASTER = [name for name in NAMES if master_of(name) == 0][:3]
OF_EACH_MASTER = [next(name for name in NAMES if master_of(name) == master) for master in range(MASTERS)]


def setup_of(cluster: Cluster, wait: int) -> BusSetup:
    seeds = tuple(server.url for server in cluster.servers)
    return BusSetup("cluster", seeds, SHARDS, failover=True, wait_replicas=wait, channels="sharded")


@contextmanager
def bus_of(cluster: Cluster) -> Iterator[Bus]:
    with closing(Bus("", utc_now, setup=setup_of(cluster, 0), timeout=2)) as bus:
        yield bus


@contextmanager
def cluster_on(network: Network, folder: Path) -> Iterator[tuple[Cluster, list[Host]]]:
    """A cluster of three masters and a replica of each, each server on a host of its own."""
    hosts = [network.add(f"r{number}") for number in range(2 * MASTERS)]
    servers = [RedisServer(folder / host.name, OPTIONS, host=host.address, port=7000, argv=host.argv) for host in hosts]
    cluster = Cluster(servers[:MASTERS], [[server] for server in servers[MASTERS:]])
    with running(*servers):
        for server in servers:
            server.start()
        cluster.form()
        with bus_of(cluster) as bus:
            bus.set_instruments(dict.fromkeys(NAMES, "crypto"))
        yield cluster, hosts


def kept(bus: Bus) -> list[tuple[Accepted, bytes]]:
    """Every price in the streams of the masters of now, with its body."""
    return [(Accepted(entry.topic, entry.epoch, entry.seq, str(entry.volume)), entry.body) for entry in bus.backwards(topics.PRICES)]


def stamps_of_two(accepted: Iterable[Accepted]) -> set[tuple[str, str, int]]:
    """The stamps that belong to two different prices."""
    prices = {(each.instrument, each.epoch, each.seq, each.volume) for each in accepted}
    return {stamp for stamp, number in Counter(price[:3] for price in prices).items() if number > 1}


def cluster_info(host: Host) -> str:
    """The view of the cluster that the server of a host has, also of one that is cut off."""
    words = host.argv("redis-cli", "-h", host.address, "-p", "7000", "cluster", "info")
    return subprocess.run(words, capture_output=True, text=True, timeout=60).stdout


def until_answers(bus: Bus) -> None:
    def answers() -> bool:
        try:
            kept(bus)
        except BusError:
            return False
        return True

    until(answers, 30, "a cluster that answers")


@pytest.fixture
def network() -> Iterator[Network]:
    require_redis()
    if (reason := unavailable()) is not None:
        pytest.skip(reason)
    with Network() as made:
        yield made


@pytest.mark.parametrize("wait", [1, 0])
def test_partition_loses_what_no_replica_confirmed_and_no_stamp_is_given_twice(network: Network, tmp_path: Path, wait: int) -> None:
    with cluster_on(network, tmp_path) as (cluster, hosts), ExitStack() as stack:
        setup = setup_of(cluster, wait)
        cut = stack.enter_context(publishing(tmp_path, "1", setup, OF_FIRST_MASTER, hosts[0].argv))
        joined = stack.enter_context(publishing(tmp_path, "2", setup, OF_FIRST_MASTER))
        until(lambda: len(cut.accepted()) > 50 < len(joined.accepted()), 20, "publishers at work")
        network.cut(hosts[0])
        before = len(joined.accepted())
        until(lambda: len(joined.accepted()) > before + 50, 30, "the replica as master")
        until(lambda: "cluster_state:fail" in cluster_info(hosts[0]), 30, "the cut master without a majority")
        network.rejoin(hosts[0])
        bus = stack.enter_context(bus_of(cluster))
        until_answers(bus)
        before = len(cut.accepted())
        until(lambda: len(cut.accepted()) > before + 50, 30, "the cut publisher at the new master")
        accepted = [*cut.stop(), *joined.stop()]
        until_answers(bus)
        found = kept(bus)
        lost = set(accepted) - {price for price, _ in found}
        assert bool(lost) == (wait == 0), f"{len(lost)} of {len(accepted)} were lost"
        assert stamps_of_two([*accepted, *(price for price, _ in found)]) == set()
        assert len({price.epoch for price, _ in found if price.instrument == OF_FIRST_MASTER[0]}) == 2


def test_kill_of_a_master_loses_nothing(network: Network, tmp_path: Path) -> None:
    with cluster_on(network, tmp_path) as (cluster, _), ExitStack() as stack:
        publisher = stack.enter_context(publishing(tmp_path, "3", setup_of(cluster, 1), OF_EACH_MASTER))
        until(lambda: len(publisher.accepted()) > 50, 20, "a publisher at work")
        cluster.masters[1].kill()
        before = len(publisher.accepted())
        # A master without a replica accepts after 5 s, as BUS_WAIT_STRICT is 0.
        until(lambda: len(publisher.accepted()) > before + 50, 40, "the replica as master")
        accepted = publisher.stop()
        bus = stack.enter_context(bus_of(cluster))
        found = [price for price, _ in kept(bus)]
        assert set(accepted) - set(found) == set()
        assert stamps_of_two(found) == set()
        assert len(found) == len(set(found))
        epochs = {name: len({price.epoch for price in found if price.instrument == name}) for name in OF_EACH_MASTER}
        assert epochs == {name: 2 if master_of(name) == 1 else 1 for name in OF_EACH_MASTER}


def test_migration_of_slots_loses_and_doubles_nothing(tmp_path: Path) -> None:
    with new_cluster(tmp_path, masters=MASTERS, options=OPTIONS) as cluster, ExitStack() as stack:
        with bus_of(cluster) as bus:
            bus.set_instruments(dict.fromkeys(NAMES, "crypto"))
        name = min(NAMES, key=lambda each: slot_of(sharded_key(topics.NUMBERS_KEY, shard_of(each, SHARDS), SHARDS).encode()))
        slot = slot_of(sharded_key(topics.NUMBERS_KEY, shard_of(name, SHARDS), SHARDS).encode())
        publisher = stack.enter_context(publishing(tmp_path, "3", setup_of(cluster, 0), [name, *OF_EACH_MASTER]))
        until(lambda: len(publisher.accepted()) > 200, 20, "a publisher at work")
        first, second = cluster.masters[0], cluster.masters[1]
        words = ["redis-cli", "--cluster", "reshard", f"{first.host}:{first.port}", "--cluster-from", cluster.id_of(first)]
        words += ["--cluster-to", cluster.id_of(second), "--cluster-slots", str(slot + 1), "--cluster-yes"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        before = len(publisher.accepted())
        until(lambda: len(publisher.accepted()) > before + 200, 30, "a publisher at the new node")
        accepted = publisher.stop()
        bus = stack.enter_context(bus_of(cluster))
        found = [price for price, _ in kept(bus)]
        volumes = Counter((price.instrument, price.volume) for price in found)
        assert set(accepted) - set(found) == set()
        assert max(volumes.values()) == 1, "no price is published twice"
        assert stamps_of_two(found) == set()
        assert len({price.epoch for price in found if price.instrument == name}) == 2
