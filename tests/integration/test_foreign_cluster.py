"""Foreign programs on a cluster: their messages reach every hub once, and they receive ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from config.settings import Settings
from db import topics
from db.bus import Bus, BusSetup
from tests.conftest import Servers, until
from tests.integration.test_bus import tick
from tests.support.clients import PythonClient
from tests.support.processes import Web
from tests.support.redis_servers import Cluster, new_cluster

SHARDS, HUBS = 4, 2
NAMES = ["EUR_USD", "USD_JPY", "BTCUSDT"]
FOREIGN = {"instrument": "EUR_USD", "price": {"bid": "1", "ask": "1", "mid": "1", "time": "2025-11-18T12:30:00Z"}}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with new_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.mark.parametrize("channels", ["sharded", "both"])
def test_foreign_programs_publish_at_any_node_and_receive_all_with_both(
    cluster: Cluster, servers: Servers, settings: Settings, tmp_path: Path, channels: str
) -> None:
    environ = {"REDIS_MODE": "cluster", "REDIS_URL": cluster.seeds, "BUS_SHARDS": str(SHARDS), "BUS_CHANNELS": channels}
    setup = BusSetup("cluster", tuple(cluster.seeds.split(",")), SHARDS, failover=True, channels=channels)
    with ExitStack() as stack:
        for server in cluster.masters:
            with server.client() as client:
                client.flushall()
        bus = stack.enter_context(closing(Bus(cluster.seeds, lambda: datetime.now(UTC), setup=setup)))
        bus.set_instruments(servers.calendars)
        log = tmp_path / "hub.log"
        hubs = [stack.enter_context(Web("hub", settings, log, BUS_WAIT_REPLICAS="0", **environ)) for _ in range(HUBS)]
        clients = [stack.enter_context(PythonClient(hub.url)) for hub in hubs]
        for each in clients:
            each.call("subscribe", {"pairs": NAMES})
        stock = stack.enter_context(cluster.masters[2].client())
        subscriber = stock.pubsub(ignore_subscribe_messages=True)
        stack.callback(subscriber.close)
        subscriber.subscribe(topics.PRICES)
        subscriber.get_message(timeout=5)  # its confirmation
        for number in range(1, 6):
            bus.publish_prices([tick(number, name) for name in NAMES])
        for number, server in enumerate(cluster.masters):
            with server.client() as client:
                client.publish(topics.PRICES, orjson.dumps({**FOREIGN, "from": number}))
        expected = Counter({(name, number, None): 1 for name in NAMES for number in range(1, 6)})
        foreign = Counter({("EUR_USD", None, number): 1 for number in range(len(cluster.masters))})
        last = bus.publish_prices([tick(6, name) for name in NAMES])
        expected += Counter((name, stamp.seq, None) for name, stamp in zip(NAMES, last, strict=True))
        for each in clients:
            until(lambda each=each: len(each.bodies("price_update")) >= len(expected + foreign), what="all messages")  # type: ignore[misc]
            bodies = each.bodies("price_update")
            assert Counter((body["instrument"], body.get("seq"), body.get("from")) for body in bodies) == expected + foreign
            assert each.stats()["messages_skipped"] == {}
        came = [orjson.loads(message["data"]) for message in iter(lambda: subscriber.get_message(timeout=1), None)]
        received = Counter((body["instrument"], body.get("seq"), body.get("from")) for body in came)
        assert received == foreign + (expected if channels == "both" else Counter())
