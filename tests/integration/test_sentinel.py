"""Sentinels: after a kill of the master nothing is lost, and a new epoch begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from db import topics
from db.bus import Bus, BusError, BusSetup, Shared
from db.bus.confirmation import ALONE_SECONDS, NodesAlone
from db.messages import Stamp
from db.timestamps import utc_now
from tests.conftest import until
from tests.integration.test_bus import tick
from tests.integration.test_confirmation import Pair
from tests.support.redis_servers import RedisServer, require_redis, running

QUORUM, SENTINELS = 2, 3


def sentinel(folder: Path, pair: Pair) -> RedisServer:
    """A sentinel of the pair. Its file has no `save`, which a sentinel does not know."""
    made = RedisServer(folder, sentinel=True)
    lines = [
        f"bind {made.host}", f"port {made.port}", f"dir {folder}",
        f"sentinel monitor tickwire {pair.master.host} {pair.master.port} {QUORUM}",
        "sentinel down-after-milliseconds tickwire 700", "sentinel failover-timeout tickwire 4000",
    ]  # fmt: skip
    (folder / "redis.conf").write_text("\n".join(lines) + "\n")
    return made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pair, str]]:
    """A master, its replica, and the seeds of three sentinels that know each other."""
    require_redis()
    folder = tmp_path_factory.mktemp("sentinels")
    pair = Pair(folder)
    sentinels = [sentinel(folder / f"s{number}", pair) for number in range(SENTINELS)]
    with running(pair.master, pair.replica, *sentinels):
        pair.start()
        for each in sentinels:
            each.start()

        def know_each_other() -> bool:
            for each in sentinels:
                with each.client() as client:
                    state = client.sentinel_master("tickwire")
                    if (state["num-other-sentinels"], state["num-slaves"]) != (SENTINELS - 1, 1):
                        return False
            return True

        until(know_each_other, 30, "sentinels that know each other")
        yield pair, ",".join(each.url for each in sentinels)


def test_kill_of_the_master_loses_nothing_and_begins_a_new_epoch(place: tuple[Pair, str]) -> None:
    pair, url = place
    time = [0.0]
    setup = BusSetup("sentinel", tuple(url.split(",")), failover=True, wait_replicas=1)
    shared = Shared(NodesAlone(lambda: time[0]))
    with closing(Bus(url, utc_now, setup=setup, timeout=2, shared=shared)) as bus:
        bus.set_instruments({"EUR_USD": "fx"})
        accepted: list[Stamp] = [bus.publish_prices([tick(number)], f"source/{number}")[0] for number in range(1, 51)]
        with pair.master.client() as master:
            assert master.hget(topics.NUMBERS_KEY, "owner") == f"{pair.master.host}:{pair.master.port}".encode()
        pair.master.kill()
        errors: list[BusError] = []

        def is_accepted() -> bool:
            try:
                accepted.extend(bus.publish_prices([tick(51)], "source/51"))
            except BusError as error:
                errors.append(error)
                time[0] += ALONE_SECONDS if error.reason == "unreplicated" else 0.0
                return False
            return True

        until(is_accepted, 40, "the new master")
        assert {"lost", "unreplicated"} <= {error.reason for error in errors}
        assert bus.unreplicated_nodes == {f"{pair.replica.host}:{pair.replica.port}"}
        before, after = accepted[49], accepted[50]
        assert (before.seq, after.seq) == (50, 1)
        assert before.epoch != after.epoch
        kept = [(entry.epoch, entry.seq) for entry in bus.backwards(topics.PRICES)][::-1]
        assert kept == [(stamp.epoch, stamp.seq) for stamp in accepted]  # 0 lost, none twice


def test_unknown_master_and_silent_sentinels_are_bus_errors(place: tuple[Pair, str]) -> None:
    _, url = place
    for seeds, name, text in ((tuple(url.split(",")), "other", "no master named other"), (("redis://127.0.0.1:1",), "tickwire", ":1")):
        setup = BusSetup("sentinel", seeds, sentinel_master=name, failover=True)
        with closing(Bus("", utc_now, setup=setup)) as bus, pytest.raises(BusError, match=text):
            bus.ping()
