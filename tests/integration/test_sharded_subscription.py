"""Subscriptions over the servers of a Redis Cluster, and hubs on one: masters, replicas, epochs."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count, pairwise
from pathlib import Path
from zlib import crc32

import orjson
import pytest

from config.settings import Settings
from config.urls import seeds_of
from db import topics
from db.bus import Bus, BusError, BusSetup, Subscriptions
from db.messages import Tick
from db.shards import TAGS, shard_of, slot_of
from health.reporter import Identity
from tests.conftest import Servers, until
from tests.support.background import in_background
from tests.support.clients import PythonClient
from tests.support.processes import Web
from tests.support.redis_servers import Cluster, RedisServer, new_cluster

SHARDS = 16
TIME = "2025-11-18T12:30:00.000000Z"
SETUP = BusSetup(mode="cluster", shards=SHARDS, failover=True, channels="sharded")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three masters with one replica each."""
    with new_cluster(tmp_path_factory.mktemp("cluster"), replicas=1) as cluster:
        yield cluster


@contextmanager
def bus_of(cluster: Cluster, servers: Servers, **options: str) -> Iterator[Bus]:
    setup = replace(SETUP, seeds=seeds_of(cluster.seeds), **options)  # type: ignore[arg-type]
    with closing(Bus(cluster.seeds, lambda: datetime.now(UTC), setup=setup)) as bus:
        until(lambda: _accepts(bus, servers), what="a cluster that accepts")
        yield bus


def _accepts(bus: Bus, servers: Servers) -> bool:
    try:
        bus.set_instruments(servers.calendars)
    except BusError:
        return False
    return True


def tick(instrument: str, number: int = 1) -> Tick:
    price = f"1.{number:06}"
    return Tick(instrument, price, price, price, TIME, "test")


def read(subscriptions: Subscriptions, number: int) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []

    def enough() -> bool:
        found.extend(subscriptions.read(0.2))
        return len(found) >= number

    until(enough, what=lambda: f"{number} messages, of which {len(found)} came")
    return found + subscriptions.read(0.2)  # one that comes twice


@pytest.mark.parametrize("channels", ["sharded", "both"])
def test_every_message_arrives_once_and_so_does_a_foreign_one_of_each_server(cluster: Cluster, servers: Servers, channels: str) -> None:
    names = sorted(servers.calendars)
    foreign = b'{"instrument":"EUR_USD","price":{"bid":"1","ask":"1","mid":"1","time":"2025-11-18T12:30:00Z"},"from":%d}'
    with (
        bus_of(cluster, servers, channels=channels) as bus,
        closing(bus.subscribe()) as subscriptions,
        cluster.masters[1].client() as other,
    ):
        pubsub = other.pubsub(ignore_subscribe_messages=True)
        pubsub.subscribe(topics.PRICES)
        pubsub.get_message(timeout=1)
        stamps = bus.publish_prices([tick(name, number) for number in (1, 2) for name in names])
        bus.publish_data_ready("volatility", [], datetime.now(UTC))
        for number, server in enumerate(cluster.servers):
            with server.client() as client:
                client.publish(topics.PRICES, foreign % number)
        found = read(subscriptions, 2 * len(names) + 1 + len(cluster.servers))
        bodies = [orjson.loads(body) for channel, body in found if channel == topics.PRICES]
        own = Counter((body["instrument"], body["epoch"], body["seq"]) for body in bodies if "seq" in body)
        assert own == Counter((name, stamp.epoch, stamp.seq) for name, stamp in zip([*names, *names], stamps, strict=True))
        assert sorted(body["from"] for body in bodies if "seq" not in body) == list(range(len(cluster.servers)))
        assert [channel for channel, _ in found if channel != topics.PRICES] == [topics.DATA_READY]
        came = iter(lambda: pubsub.get_message(timeout=1), None)
        assert len(list(came)) == len(cluster.servers) + (2 * len(names) if channels == "both" else 0)
        pubsub.close()


def test_processes_spread_over_masters_and_replicas(cluster: Cluster, servers: Servers) -> None:
    ports: set[int] = set()
    with bus_of(cluster, servers) as bus:
        for name in ("hub:5001@a", "hub:5002@a", "hub:5003@a", "hub:5004@a"):
            with closing(bus.subscribe([topics.PRICES], name)) as subscriptions:
                assert len(subscriptions.parts) == 3
                ports |= {part.sock.getpeername()[1] for part in subscriptions.parts}
                bus.publish_prices([tick(each) for each in servers.calendars])
                assert len(read(subscriptions, len(servers.calendars))) == len(servers.calendars)
        with closing(bus.subscribe([topics.PRICES])) as subscriptions:
            assert {part.sock.getpeername()[1] for part in subscriptions.parts} == {server.port for server in cluster.masters}
    assert ports == {server.port for server in cluster.servers}


def test_shard_channel_that_moves_ends_the_subscription(cluster: Cluster, servers: Servers) -> None:
    shard = SHARDS - 1
    slot = slot_of(f"{{{TAGS[SHARDS][shard]}}}".encode())
    name = next(name for name in servers.calendars if shard_of(name, SHARDS) == shard)
    source, target = cluster.masters[2], cluster.masters[0]
    with bus_of(cluster, servers) as bus:
        source.client().flushall()
        subscriptions = bus.subscribe([topics.PRICES])
        move(cluster, slot, source, target)
        try:
            with pytest.raises(BusError, match="MOVED"):
                until(lambda: subscriptions.read(0.2))
            subscriptions.close()
            subscriptions = until(lambda: _or_none(bus), what="another subscription")  # type: ignore[assignment]
            until(lambda: _publishes(bus, name), what="an accepted price")
            assert orjson.loads(read(subscriptions, 1)[0][1])["instrument"] == name
        finally:
            subscriptions.close()
            target.client().flushall()
            move(cluster, slot, target, source)


def move(cluster: Cluster, slot: int, source: RedisServer, target: RedisServer) -> None:
    """Give an empty slot to another master."""
    owner = cluster.id_of(target)
    for server in (target, source, *cluster.masters):
        with server.client() as client:
            client.execute_command("CLUSTER SETSLOT", slot, "NODE", owner)


def _or_none(bus: Bus) -> Subscriptions | None:
    try:
        return bus.subscribe([topics.PRICES])
    except BusError:
        return None


def _publishes(bus: Bus, name: str) -> bool:
    try:
        bus.publish_prices([tick(name)])
    except BusError:
        return False
    return True


class Ticker:
    """Publishes a price of each instrument in turn; a failed one is repeated."""

    def __init__(self, bus: Bus, names: Sequence[str]) -> None:
        self.accepted: dict[str, list[tuple[str, int]]] = {name: [] for name in names}  # instrument -> (epoch, seq)
        self._bus = bus

    def run(self, stop: threading.Event) -> None:
        for number in count(1):
            while not self._publish(number):
                if stop.wait(0.02):
                    return
            if stop.wait(0.01):
                return

    def _publish(self, number: int) -> bool:
        try:
            stamps = self._bus.publish_prices([tick(name, number) for name in self.accepted], f"ticker/{number}")
        except BusError:
            return False
        for name, stamp in zip(self.accepted, stamps, strict=True):
            self.accepted[name].append((stamp.epoch, stamp.seq))
        return True

    def await_more(self, more: int) -> None:
        goal = min(map(len, self.accepted.values())) + more
        until(lambda: min(map(len, self.accepted.values())) >= goal, 60, f"{more} more prices")


@contextmanager
def ticking(bus: Bus, names: Sequence[str]) -> Iterator[Ticker]:
    """Let a ticker publish for the block."""
    ticker = Ticker(bus, names)
    with in_background(ticker.run):
        yield ticker


def hub_of(cluster: Cluster, settings: Settings, log: Path, *, at_replicas: bool) -> Web:
    """A hub whose name chooses the masters or the replicas."""
    environ = {"REDIS_MODE": "cluster", "REDIS_URL": cluster.seeds, "BUS_SHARDS": str(SHARDS), "BUS_WAIT_REPLICAS": "0"}
    environ["OUTBOX_LIMIT_BYTES"] = "16000000"  # the prices that were missed come at once, and must not conflate
    while True:
        hub = Web("hub", settings, log, **environ)
        name = Identity.of_this_process("hub", hub.port, datetime.now(UTC)).name(1)
        if crc32(name.encode()) % 2 == at_replicas:
            return hub


def stamps_of(client: PythonClient, name: str) -> list[tuple[str, int]]:
    return [(body["epoch"], body["seq"]) for body in client.bodies("price_update") if body["instrument"] == name]


def without_hole_or_double(stamps: Sequence[tuple[str, int]]) -> bool:
    """True if each number follows the one before, and no epoch comes back."""
    epochs = [epoch for epoch, _ in stamps]
    begun = [epoch for before, epoch in pairwise(["", *epochs]) if before != epoch]
    follows = all(after[1] == before[1] + 1 for before, after in pairwise(stamps) if before[0] == after[0])
    return follows and len(begun) == len(set(begun))


@pytest.mark.parametrize("at_replicas", [False, True], ids=["masters", "replicas"])
def test_hub_loses_no_message_if_its_subscriptions_are_dropped(
    cluster: Cluster, servers: Servers, settings: Settings, tmp_path: Path, at_replicas: bool
) -> None:
    names = one_of_each_shard(servers.calendars)
    subscribed = cluster.servers[3:] if at_replicas else cluster.masters
    hub = hub_of(cluster, settings, tmp_path / "hub.log", at_replicas=at_replicas)
    with bus_of(cluster, servers) as bus, hub, PythonClient(hub.url) as client:
        with ticking(bus, names) as ticker:
            client.call("subscribe", {"pairs": names})
            for server in [*subscribed, *subscribed]:
                ticker.await_more(10)
                until(lambda server=server: _drops(server), what="a dropped subscription")  # type: ignore[misc]
            ticker.await_more(10)
        check_received(client, ticker)
        assert client.stats()["messages_skipped"] == {}


def check_received(client: PythonClient, ticker: Ticker) -> None:
    """Wait for the last price of each instrument; each must have come once, in order."""
    for name, accepted in ticker.accepted.items():
        until(lambda name=name, accepted=accepted: stamps_of(client, name)[-1:] == accepted[-1:], what=name)  # type: ignore[misc]
        assert without_hole_or_double(stamps_of(client, name))


def _drops(server: RedisServer) -> bool:
    with server.client() as client:
        return bool(client.client_kill_filter(_type="pubsub"))


def one_of_each_shard(calendars: Mapping[str, str]) -> list[str]:
    return list({shard_of(name, SHARDS): name for name in sorted(calendars)}.values())


def test_instrument_without_a_price_has_the_position_of_its_shard(
    cluster: Cluster, servers: Servers, settings: Settings, tmp_path: Path
) -> None:
    for server in cluster.servers:
        with server.client() as client_of_server:
            if client_of_server.info("replication")["role"] == "master":
                client_of_server.flushall()
    names = sorted(servers.calendars)
    silent = next(name for name in names if [shard_of(each, SHARDS) for each in names].count(shard_of(name, SHARDS)) > 1)
    priced = [name for name in names if name != silent]
    other = next(name for name in priced if shard_of(name, SHARDS) != shard_of(silent, SHARDS))
    beside = next(name for name in priced if shard_of(name, SHARDS) == shard_of(silent, SHARDS))
    with bus_of(cluster, servers) as bus:
        epochs = {name: stamp.epoch for name, stamp in zip(priced, bus.publish_prices([tick(name) for name in priced]), strict=True)}
        with hub_of(cluster, settings, tmp_path / "hub.log", at_replicas=False) as hub:
            with PythonClient(hub.url) as client:
                answer = client.call("subscribe", {"pairs": [silent, other]})
                assert answer["positions"] == {silent: {"epoch": epochs[beside], "seq": 0}}
                assert epochs[beside] != epochs[other]
            with PythonClient(hub.url) as client:
                answer = client.call("subscribe", {"pairs": [silent], "since": {silent: {"epoch": epochs[other], "seq": 0}}})
                assert answer["recovered"] == {silent: False}
            [stamp] = bus.publish_prices([tick(silent)])
            with PythonClient(hub.url) as client:
                since = {silent: {"epoch": epochs[beside], "seq": 0}}
                until(lambda: client.call("request_price", {"instrument": silent}), what="the price in the hub")
                answer = client.call("subscribe", {"pairs": [silent], "since": since})
                assert answer["recovered"] == {silent: True}
                assert client.wait("price_update")["seq"] == stamp.seq == 1


def test_failover_begins_a_new_epoch_in_its_shards_alone(cluster: Cluster, servers: Servers, settings: Settings, tmp_path: Path) -> None:
    names = one_of_each_shard(servers.calendars)
    failing = [name for name in names if slot_of(f"{{{TAGS[SHARDS][shard_of(name, SHARDS)]}}}".encode()) < 16_384 // 3]
    staying = [name for name in names if name not in failing]
    assert failing
    assert staying
    with bus_of(cluster, servers) as bus, hub_of(cluster, settings, tmp_path / "hub.log", at_replicas=False) as hub:
        with PythonClient(hub.url) as client:
            client.call("subscribe", {"pairs": names})
            with ticking(bus, names) as ticker, cluster.replicas[0][0].client() as replica:
                ticker.await_more(10)
                replica.execute_command("CLUSTER FAILOVER TAKEOVER")
                until(lambda: all(len({epoch for epoch, _ in ticker.accepted[name]}) > 1 for name in failing), 60, "new epochs")
                ticker.await_more(10)
            check_received(client, ticker)
        since = {name: dict(zip(("epoch", "seq"), ticker.accepted[name][0], strict=True)) for name in names}
        with PythonClient(hub.url) as client:
            answer = client.call("subscribe", {"pairs": names, "since": since})
            assert answer["recovered"] == {**dict.fromkeys(failing, False), **dict.fromkeys(staying, True)}
            assert client.stats()["messages_skipped"] == {}
