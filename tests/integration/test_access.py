"""Access at a real hub: CONNECT is refused, or grants rights until the end of the connection."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import socketio

from config.settings import Settings
from db.bus import Bus
from tests.support.clients import PythonClient
from tests.support.hub_variants import variant
from tests.support.processes import Web


@pytest.fixture(scope="module")
def shared_hub(shared_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with variant("with_rights", shared_settings, tmp_path_factory.mktemp("hub") / "hub.log") as process:
        yield process


def test_rights_of_connect_are_effective_at_the_events(shared_hub: Web, shared_bus: Bus) -> None:
    some = PythonClient(shared_hub.url)
    every = PythonClient(shared_hub.url, ["polling"])
    some.connect({"scopes": ["read"], "instruments": ["EUR_USD"]})
    every.connect({"scopes": ["read", "observe"], "instruments": ["EUR_USD", "GBP_USD"]})
    try:
        assert some.wait("connection_established")["available_pairs"] == ["EUR_USD"]
        answer = some.call("subscribe", {"pairs": ["EUR_USD", "GBP_USD"]})
        assert (answer["pairs"], answer["rejected"][0]["code"]) == (["EUR_USD"], "forbidden")
        assert some.call("get_server_stats")["code"] == "forbidden"
        assert some.wait("error")["event"] == "get_server_stats"
        assert every.call("subscribe", {"pairs": "all"})["pairs"] == ["EUR_USD", "GBP_USD"]
        for pair in ("GBP_USD", "EUR_USD"):
            shared_bus.cache_price(pair, bid="1.1", ask="1.2", mid="1.15", time=datetime(2025, 11, 18, tzinfo=UTC))
        every.wait("price_update", 2)
        some.wait("price_update")
        assert [body["instrument"] for body in some.bodies("price_update")] == ["EUR_USD"]
        assert every.stats()["connected_clients"] == 2
    finally:
        for client in (some, every):
            client.__exit__(None, None, None)


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_refusal_of_the_authenticator_is_a_connect_error_with_the_error_body(shared_hub: Web, transport: str) -> None:
    client = socketio.Client(reconnection=False)
    refused: list[Any] = []
    client.on("connect_error", refused.append)
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(shared_hub.url, transports=[transport], wait_timeout=60)
    body = {"code": "unauthorized", "message": "CONNECT has no credentials.", "event": "connect", "details": {"auth": ["Missing."]}}
    assert refused == [{"message": "unauthorized", "data": body}]
    client.disconnect()
