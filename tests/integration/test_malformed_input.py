"""The hub under malformed input on its port and on the bus: no traceback, no lost message."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis as redis_client

from config.settings import Settings
from db import topics
from db.bus import Bus
from tests.conftest import until
from tests.integration.test_hub import publish
from tests.support.clients import PythonClient
from tests.support.malformed_hub import Malformed
from tests.support.processes import Web

INPUTS = 3000
MANY_INPUTS = 100_000
CHANNELS = [topics.PRICES, topics.CANDLES, topics.VOLATILITY_ALERTS, topics.CORRELATION_ALERTS, topics.DATA_READY]


@pytest.fixture
def watched(settings: Settings, bus: Bus, tmp_path: Path) -> Iterator[tuple[Web, PythonClient]]:
    """A hub with a client that watches one instrument; afterwards it has missed nothing."""
    with Web("hub", settings, tmp_path / "hub.log") as hub, PythonClient(hub.url) as client:
        client.call("subscribe", {"pairs": ["EUR_USD"]})
        publish(bus, 3)
        client.wait("price_update", 3)
        yield hub, client
        last = publish(bus, 3).seq
        until(lambda: client.seqs()[-1:] == [last])
        assert client.seqs() == list(range(1, last + 1))
        assert client.bodies("disconnect") == []
        log = (tmp_path / "hub.log").read_text()
        assert "Traceback" not in log, log[log.index("Traceback") - 2000 :][:6000]
        assert '"ERROR"' not in log, log[log.index('"ERROR"') - 2000 :][:4000]


def attack(hub: Web, bus: Bus, count: int, seed: int) -> None:
    """Send `count` inputs; a price follows each hundred of them."""
    parts = urlsplit(hub.url)
    malformed = Malformed(str(parts.hostname), int(parts.port or 0), seed)
    while malformed.sent.total() < count:
        malformed.run(min(count, malformed.sent.total() + 100))
        publish(bus)
    assert malformed.faults == []


def test_malformed_input_leaves_no_traceback(watched: tuple[Web, PythonClient], bus: Bus) -> None:
    attack(watched[0], bus, INPUTS, seed=1)


@pytest.mark.slow
@pytest.mark.skipif("TICKWIRE_MALFORMED" not in os.environ, reason="TICKWIRE_MALFORMED=1 sends 100,000 inputs, for several minutes")
@pytest.mark.timeout(3600)
def test_many_malformed_inputs_leave_no_traceback(watched: tuple[Web, PythonClient], bus: Bus) -> None:
    attack(watched[0], bus, MANY_INPUTS, seed=2)


def test_malformed_message_of_the_bus_is_skipped(watched: tuple[Web, PythonClient], bus: Bus, raw_redis: redis_client.Redis) -> None:
    _, client = watched
    bodies = Malformed("127.0.0.1", 0, seed=3).messages(1000)
    for channel in CHANNELS:
        for body in bodies:
            raw_redis.publish(channel, body)
    publish(bus)
    until(lambda: client.seqs()[-1:] == [4])
    assert sum(client.stats()["messages_skipped"].values()) > 1000
