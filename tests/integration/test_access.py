"""The front door of a real hub: CONNECT is refused, or grants rights that last as long as the connection."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import socketio

from config.settings import Settings
from db.bus import Bus
from tests.support.clients import PythonClient
from tests.support.hub_variants import variant
from tests.support.processes import Web


@pytest.fixture
def hub(settings: Settings, bus: Bus, tmp_path: Path) -> Iterator[Web]:
    with variant("with_rights", settings, tmp_path / "hub.log") as process:
        yield process


def test_rights_of_connect_are_effective_at_the_events(hub: Web, bus: Bus) -> None:
    some = PythonClient(hub.url)
    every = PythonClient(hub.url, ["polling"])
    some.connect({"scopes": ["read"], "instruments": ["EUR_USD"]})
    every.connect({"scopes": ["read", "observe"], "instruments": ["EUR_USD", "GBP_USD"]})
    try:
        assert some.wait("connection_established")["available_pairs"] == ["EUR_USD"]
        answer = some.call("subscribe", {"pairs": ["EUR_USD", "GBP_USD"]})
        assert (answer["pairs"], answer["rejected"][0]["code"]) == (["EUR_USD"], "unauthorized")
        assert some.call("get_server_stats")["code"] == "unauthorized"
        assert some.wait("error")["event"] == "get_server_stats"
        assert every.call("subscribe", {"pairs": "all"})["pairs"] == ["EUR_USD", "GBP_USD"]
        for pair in ("GBP_USD", "EUR_USD"):
            bus.cache_price(pair, bid="1.1", ask="1.2", mid="1.15", time=datetime(2025, 11, 18, tzinfo=UTC))
        every.wait("price_update", 2)
        some.wait("price_update")
        assert [body["instrument"] for body in some.bodies("price_update")] == ["EUR_USD"]
        assert every.call("get_server_stats")["connected_clients"] == 2
    finally:
        for client in (some, every):
            client.__exit__(None, None, None)


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_refusal_of_the_authenticator_is_a_connect_error_with_the_error_body(hub: Web, transport: str) -> None:
    client = socketio.Client(reconnection=False)
    refused: list[Any] = []
    client.on("connect_error", refused.append)
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(hub.url, transports=[transport], wait_timeout=10)
    body = {"code": "unauthorized", "message": "CONNECT has no credentials.", "event": "connect", "details": {"auth": ["Missing."]}}
    assert refused == [{"message": "unauthorized", "data": body}]
    client.disconnect()
