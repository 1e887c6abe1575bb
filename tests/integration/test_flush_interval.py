"""A hub with FLUSH_INTERVAL_MS: broadcasts wait, answers and the end of the hub do not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from config.settings import Settings
from db.bus import Bus
from tests.conftest import until
from tests.support.clients import PythonClient
from tests.support.processes import Web


def test_interval_delays_broadcasts_alone(settings: Settings, bus: Bus, tmp_path: Path) -> None:
    def publish(count: int) -> None:
        for _ in range(count):
            bus.cache_price("EUR_USD", bid="1", ask="3", mid="2", time=datetime(2025, 11, 18, tzinfo=UTC))

    with Web("hub", settings, tmp_path / "hub.log", FLUSH_INTERVAL_MS="1000") as hub, PythonClient(hub.url) as client:
        client.call("subscribe", {"pairs": ["EUR_USD"]})
        relayed = client.stats()["messages_relayed"]
        publish(3)
        until(lambda: client.stats()["messages_relayed"] == relayed + 3, what="three prices in the hub")
        assert client.stats()["flush_interval_ms"] == 1000
        assert client.seqs() == [1, 2, 3], "an answer comes after the broadcasts before it"
        publish(2)
        client.wait("price_update", 5)
        publish(1)
        until(lambda: hub.metric("tickwire_hub_relayed_total") == relayed + 6, what="the last price in the hub")
        hub.ask_to_stop()
        client.wait("error")
        assert client.seqs() == [1, 2, 3, 4, 5, 6], "the end of the hub sends what waits"
