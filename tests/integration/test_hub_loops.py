"""The unexpected end of a loop ends the hub, because a hub without its relay looks healthy."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
import redis as redis_client

from config.settings import Settings
from db import topics
from db.bus import Bus
from tests.conftest import until
from tests.support.clients import PythonClient
from tests.support.hub_variants import variant

CAUSES: dict[str, Callable[[redis_client.Redis, Bus], object]] = {
    "with_relay_that_ends": lambda redis, bus: redis.publish(topics.PRICES, b"end"),
    "with_feed_that_ends": lambda redis, bus: bus.publish_data_ready("volatility", [], datetime(2025, 11, 18)),  # noqa: DTZ001
}
LOOPS = {"with_relay_that_ends": "relay", "with_feed_that_ends": "volatility-feed"}


@pytest.mark.parametrize("name", CAUSES)
def test_process_ends_with_a_logged_error_if_a_loop_ends(
    name: str, settings: Settings, bus: Bus, raw_redis: redis_client.Redis, tmp_path: Path
) -> None:
    with variant(name, settings, tmp_path / "hub.log") as hub:
        with PythonClient(hub.url) as client:
            CAUSES[name](raw_redis, bus)
            assert client.wait("error")["code"] == "unavailable"
            client.wait("disconnect")
        until(lambda: hub.output().count("Booting worker") == 2, 60, "another worker")
        assert "exited with code 70" in hub.output()
        [line] = [line for line in hub.output().splitlines() if "a long-lived loop ended" in line]
        assert json.loads(line)["level"] == "ERROR"
        assert json.loads(line)["loop"] == LOOPS[name]
        assert "tests.support.hub_variants.End" in line, "the log has no traceback"
        hub.await_ready()
        with PythonClient(hub.url) as client:
            assert client.stats()["connected_clients"] == 1


def test_stop_of_the_hub_is_no_unexpected_end(settings: Settings, bus: Bus, tmp_path: Path) -> None:
    with variant("with_levels", settings, tmp_path / "hub.log") as hub:
        assert hub.ask_to_stop() == 0
        assert "a long-lived loop ended" not in hub.output()
