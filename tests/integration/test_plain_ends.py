"""Heartbeats of `/ws/metrics`, slow clients and the end of a hub, with short times."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from config.settings import Settings
from db.bus import Bus
from tests.conformance.websocket_client import Closed
from tests.conftest import until
from tests.support.plain import Plain, snapshot
from tests.support.processes import Web

VARIABLES = {"WS_HEARTBEAT_INTERVAL": "1", "OUTBOX_TIMEOUT": "1", "OUTBOX_LIMIT_BYTES": "100000"}


@pytest.fixture(scope="module")
def shared_variables() -> dict[str, str]:
    return VARIABLES


def test_answered_pings_keep_a_silent_client(shared_hub: Web) -> None:
    with Plain(shared_hub.port) as client:
        assert client.body()["type"] == "connected"
        while client.pings < 4:
            with pytest.raises(TimeoutError):
                client.receive(0.5)


def test_client_without_any_frame_for_two_heartbeats_is_closed(shared_hub: Web) -> None:
    with Plain(shared_hub.port) as client:
        client.answering = False
        assert client.body()["type"] == "connected"
        with pytest.raises(Closed) as caught:
            client.receive(20)
        assert caught.value.code == 1002
        assert 1 <= client.pings <= 3


def test_text_heartbeat_comes_with_the_ping_and_may_be_answered(shared_hub: Web) -> None:
    with Plain(shared_hub.port, "heartbeat=text") as client:
        assert client.body()["type"] == "connected"
        for _ in range(3):
            assert client.receive(20) == "ping"
            client.send("pong")
        assert client.pings >= 3
        client.send('{"type":"health"}')
        while (text := client.receive()) == "ping":
            pass
        assert str(text).startswith('{"type":"health",'), "the text pong was no invalid frame"


def test_blocked_client_is_closed_with_1008_after_its_present_frame(shared_hub: Web, shared_bus: Bus) -> None:
    """A frame above the limit of the outbox cannot be replaced: the client ends as a slow one."""
    with Plain(shared_hub.port) as watching, Plain(shared_hub.port) as blocked:
        assert watching.body()["type"] == blocked.body()["type"] == "connected"
        for seq in range(100):
            shared_bus.publish_snapshot(snapshot(seq, padding=90_000))
            while watching.body()["seq"] != seq:
                pass
        until(lambda: "disconnected a slow client" in shared_hub.output(), what="the end of the blocked client")
        assert blocked.closed_with() == 1008


@pytest.fixture
def hub(settings: Settings, bus: Bus, tmp_path: Path) -> Iterator[Web]:
    with Web("hub", settings, tmp_path / "hub.log", **VARIABLES) as process:
        yield process


def test_shutdown_sends_unavailable_then_1001(hub: Web) -> None:
    with Plain(hub.port) as first, Plain(hub.port) as second:
        for client in (first, second):
            assert client.body()["type"] == "connected"
        assert hub.popen is not None
        hub.popen.terminate()
        waits = []
        for client in (first, second):
            error = client.next_but_snapshots()["error"]
            assert error["code"] == "unavailable"
            waits.append(error["details"]["retry_after"])
            assert client.closed() == 1001
        assert all(1 <= seconds <= 5 for seconds in waits)
        assert hub.popen.wait(60) == 0
        assert "Traceback" not in hub.output()
