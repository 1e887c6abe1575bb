"""A channel needs one row in each half of the channel table, which a test adds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import socketio

from api.app import create_app
from api.hub.channels import CHANNELS
from config.settings import Settings
from db import topics
from db.bus import Bus
from db.postgres import Store
from tests.conformance.http_client import Server
from tests.conformance.websocket_client import WebSocket
from tests.conftest import until
from tests.support.clients import PythonClient
from tests.support.hub_variants import CHANNEL, LEVELS, NAMESPACE, STREAM, variant
from tests.support.processes import Web

PADDING = "x" * 60_000  # bytes of a message: a few messages fill the buffers of a socket


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The invented rows in this process; `with_levels` adds them in the process of the hub."""
    monkeypatch.setitem(topics.STREAMS, LEVELS, STREAM)
    monkeypatch.setitem(CHANNELS, LEVELS, CHANNEL)


@pytest.fixture(scope="module")
def shared_hub(shared_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    log = tmp_path_factory.mktemp("hub") / "hub.log"
    with variant("with_levels", shared_settings, log, OUTBOX_LIMIT_BYTES=str(128 * 1024)) as process:
        yield process


@pytest.fixture
def hub(settings: Settings, bus: Bus, tmp_path: Path) -> Iterator[Web]:
    with variant("with_levels", settings, tmp_path / "hub.log") as process:
        yield process


def publish(bus: Bus, level: int, instrument: str = "EUR_USD", **more: str) -> int:
    """Publish a message of the invented channel; return its seq."""
    return bus.publish(LEVELS, instrument, {"instrument": instrument, "level": level, **more}).seq


@pytest.mark.usefixtures("rows")
def test_invented_channel_is_published_and_relayed_to_its_namespace(shared_hub: Web, shared_bus: Bus) -> None:
    hub, bus = shared_hub, shared_bus
    received: list[Any] = []
    client = socketio.Client(reconnection=False)
    client.on("*", lambda event, body: received.append((event, body)), namespace=NAMESPACE)
    client.connect(hub.url, transports=["websocket"], namespaces=[NAMESPACE], wait_timeout=60)
    try:
        with PythonClient(hub.url) as other:
            before = Counter(other.stats()["messages_skipped"])
            assert [publish(bus, 1), publish(bus, 2), publish(bus, 3, "GBP_USD")] == [1, 2, 1]
            until(lambda: len(received) >= 3, what="three messages")
            # Only now: a hub that is catching up reads a message of the stream and of the channel.
            assert publish(bus, 4, "NOT_KNOWN") == 1
            bus.publish_data_ready("volatility", [], datetime(2025, 11, 18))  # noqa: DTZ001
            other.wait("data_ready")
            assert [event for event, _ in received] == ["level_update"] * 3, "data_ready belongs to the other namespace"
            assert [(body["instrument"], body["level"], body["seq"]) for _, body in received] == [
                ("EUR_USD", 1, 1), ("EUR_USD", 2, 2), ("GBP_USD", 3, 1),
            ]  # fmt: skip
            assert other.bodies("level_update") == []
            after = Counter(other.stats()["messages_skipped"])
            assert after - before == {"unknown_instrument": 1}
        error = client.call("subscribe", {"pairs": "all"}, namespace=NAMESPACE, timeout=60)
        assert (error["code"], error["event"]) == ("invalid_payload", "subscribe"), "the events of `/` are not events of this namespace"
    finally:
        client.disconnect()


@pytest.mark.usefixtures("rows")
def test_invented_channel_is_conflated_for_a_client_that_stops_reading(shared_hub: Web, shared_bus: Bus) -> None:
    hub, bus = shared_hub, shared_bus
    with WebSocket(Server("127.0.0.1", hub.port), "/socket.io/") as slow, PythonClient(hub.url) as other:
        slow.send(f"40{NAMESPACE},")
        assert str(slow.packet()).startswith(f'40{NAMESPACE},{{"sid":')
        level = 0
        while not other.stats()["messages_conflated"]:
            for _ in range(50):  # statistics cost several tokens
                level += 1
                publish(bus, level, padding=PADDING)
            assert level < 5000, "nothing was conflated"
        publish(bus, level + 1)
        levels: list[int] = []
        while levels[-1:] != [level + 1]:
            packet = str(slow.packet())
            if found := re.match(rf'42{NAMESPACE},\["level_update",(.*)\]$', packet):
                levels.append(orjson.loads(found[1])["level"])
        assert levels == sorted(set(levels))
        assert len(levels) < level + 1


def test_clients_of_an_invented_namespace_receive_retry_after_at_a_shutdown(hub: Web) -> None:
    errors: list[Any] = []
    client = socketio.Client(reconnection=False)
    client.on("error", errors.append, namespace=NAMESPACE)
    client.connect(hub.url, transports=["websocket"], namespaces=[NAMESPACE], wait_timeout=60)
    hub.ask_to_stop()
    until(lambda: errors, what="the error event")
    assert errors[0]["code"] == "unavailable"
    assert errors[0]["details"]["retry_after"] > 0
    client.disconnect()


def test_invented_channel_is_documented(
    settings: Settings, bus: Bus, store: Store, clock: Callable[[], datetime], request: pytest.FixtureRequest
) -> None:
    def document() -> Any:
        return create_app(settings, bus, store, clock, "1.2.3").test_client().get("/asyncapi.json").get_json()

    before = document()
    assert set(before["channels"]) == {"books", "hub", "metrics"}
    request.getfixturevalue("rows")
    after = document()
    assert after["channels"]["hub"] == before["channels"]["hub"]
    assert after["channels"]["levels"]["address"] == NAMESPACE
    assert set(after["channels"]["levels"]["messages"]) == {"level_update", "gap_notice", "error"}
    operation = after["operations"]["levels.level_update"]
    assert (operation["action"], operation["description"]) == ("send", CHANNEL.audience)
    payload = after["components"]["messages"]["levels.level_update"]["payload"]["$ref"]
    assert payload == "#/components/schemas/LevelUpdate"
    assert set(after["components"]["schemas"]["LevelUpdate"]["required"]) == {"instrument", "level"}
