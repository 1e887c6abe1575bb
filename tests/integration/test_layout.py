"""The number of shards on the bus: checked by every process, changed by `manage.py bus reshard`."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import orjson
import pytest
import redis as redis_client

from db import topics
from db.bus import Bus, BusSetup, LayoutDiffers, Shared
from db.shards import sharded_key
from db.timestamps import utc_now
from ops.checks import bus_server, judge_bus
from ops.servers import Kind
from tests.conftest import Servers
from tests.integration.test_bus import tick, trade

ROOT = Path(__file__).resolve().parents[2]


def bus_of(servers: Servers, shards: int, shared: Shared | None = None) -> Bus:
    return Bus(servers.redis_url, utc_now, setup=BusSetup(shards=shards), shared=shared)


def manage(servers: Servers, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command with the Redis of the tests, as its operator."""
    environment = {**os.environ, "REDIS_URL": servers.operator_url, "LOG_FORMAT": "text", **environ}
    argv = [sys.executable, "manage.py", *words]
    return subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


def layout(raw_redis: redis_client.Redis) -> object:
    found = raw_redis.get(topics.LAYOUT_KEY)
    assert isinstance(found, bytes)
    return orjson.loads(found)


def test_first_process_sets_the_layout_and_others_compare_it(servers: Servers, raw_redis: redis_client.Redis) -> None:
    with closing(bus_of(servers, 16)) as bus, closing(bus_of(servers, 8)) as other:
        bus.check_layout()
        bus.check_layout()
        assert layout(raw_redis) == {"version": 1, "shards": 16}
        with pytest.raises(LayoutDiffers) as raised:
            other.check_layout()
    assert str(raised.value) == (
        "BUS_SHARDS is 8, but the bus holds 16 shards: set BUS_SHARDS=16, or stop all processes and run manage.py bus reshard 8"
    )


def test_bus_of_the_version_before_holds_one_shard(servers: Servers, raw_redis: redis_client.Redis) -> None:
    with closing(bus_of(servers, 1)) as bus, closing(bus_of(servers, 4)) as other:
        bus.publish_prices([tick(1)])
        raw_redis.delete(topics.LAYOUT_KEY)
        with pytest.raises(LayoutDiffers):
            other.check_layout()
        bus.check_layout()


@pytest.mark.parametrize("text", [b"x", b"[]", b'{"version":2,"shards":4}', b'{"version":1,"shards":3}'])
def test_layout_that_this_version_does_not_know_is_refused(servers: Servers, raw_redis: redis_client.Redis, text: bytes) -> None:
    raw_redis.set(topics.LAYOUT_KEY, text)
    with closing(bus_of(servers, 4)) as bus, pytest.raises(LayoutDiffers, match="does not know"):
        bus.check_layout()


def test_every_process_ends_with_two_at_its_start(servers: Servers, raw_redis: redis_client.Redis) -> None:
    raw_redis.set(topics.LAYOUT_KEY, b'{"version":1,"shards":16}')
    server = bus_server(servers.redis_url, "REDIS_URL", BusSetup(shards=8))
    for service in ("jobs", "hub", "rest", "observer", "books", "up"):
        [finding] = [each for each in judge_bus(service, server) if each.kind is Kind.UNFIT]
        assert finding.text.startswith("BUS_SHARDS is 8, but the bus holds 16 shards")
    assert [each for each in judge_bus("doctor", server) if each.kind is Kind.UNFIT] == []


def test_process_ends_if_a_reconnect_finds_another_layout(servers: Servers, raw_redis: redis_client.Redis) -> None:
    found: list[LayoutDiffers] = []
    with closing(bus_of(servers, 1, Shared(layout_differs=found.append))) as bus:
        bus.check_layout()
        with closing(bus.with_timeout(1)) as other:
            raw_redis.set(topics.LAYOUT_KEY, b'{"version":1,"shards":4}')
            assert other.answers() is False
    assert [str(error).partition(":")[0] for error in found] == ["BUS_SHARDS is 1, but the bus holds 4 shards"]


def test_reshard_waits_for_processes_and_for_the_store(servers: Servers, raw_redis: redis_client.Redis) -> None:
    with closing(bus_of(servers, 1)) as bus:
        bus.check_layout()
        bus.publish_prices([tick(1)])
        bus.publish_trades([trade(1)], "source/1")
        bus.publish_candles([("EUR_USD", "1m", {})])
        bus.take_name("hub:5001@here", b"{}")
        bus.put_process("hub:5001@here", int(utc_now().timestamp() * 1000), b"{}")
        refused = manage(servers, "bus", "reshard", "4")
        assert (refused.returncode, "hub:5001@here" in refused.stderr) == (1, True), refused.stderr
        bus.remove_process("hub:5001@here")
        refused = manage(servers, "bus", "reshard", "4")
        assert (refused.returncode, "not stored" in refused.stderr) == (1, True), refused.stderr
        assert layout(raw_redis) == {"version": 1, "shards": 1}
        for channel in (topics.PRICES, topics.TRADES):
            bus.open_group(channel)
        bus.acknowledge(topics.PRICES, [entry.id for entry in bus.read_unstored(topics.PRICES, 10, 0)])
        bus.forget_trades(bus.read_unstored_trades(10, 0))
        latest = bus.latest_prices()
    done = manage(servers, "bus", "reshard", "4")
    assert (done.returncode, layout(raw_redis)) == (0, {"version": 1, "shards": 4}), done.stderr
    with closing(bus_of(servers, 4)) as bus:
        bus.check_layout()
        assert bus.latest_prices() == latest
        assert bus.publish_prices([tick(2)])[0].seq == 1
    left = {key.decode() for key in raw_redis.scan_iter("tickwire:*")}
    assert not left & {topics.NUMBERS_KEY, topics.LATEST_KEY, topics.stream_key(topics.PRICES), topics.count_key(topics.TRADES)}
    assert not [key for key in left if key.startswith("tickwire:receipt:")]
    assert any(key == sharded_key(topics.LATEST_KEY, shard, 4) for key in left for shard in range(4))
    again = manage(servers, "bus", "reshard", "4")
    assert (again.returncode, "already" in again.stdout) == (0, True)
    assert manage(servers, "bus", "reshard", "3").returncode == 2


def test_embedded_redis_is_resharded_while_nothing_runs(tmp_path: Path, servers: Servers) -> None:
    environ = {"REDIS_URL": "", "HUB_DATA_DIR": str(tmp_path / "var")}
    for shards, text in (("8", "8 shards now"), ("1", "1 shard now")):
        done = manage(servers, "bus", "reshard", shards, **environ)
        assert (done.returncode, text in done.stdout) == (0, True), done.stderr
