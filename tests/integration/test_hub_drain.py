"""`POST /hub/drain`: the hub refuses new clients at once, serves the others, then closes them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from config.settings import Settings
from db.bus import Bus
from db.timestamps import utc_now
from health.hubs import living_hubs
from tests.conformance.http_client import Server
from tests.conformance.websocket_client import Closed
from tests.conftest import until
from tests.support.answers import get
from tests.support.clients import PythonClient
from tests.support.plain import Books
from tests.support.processes import Web

OPENING = "/socket.io/?EIO=4&transport=polling"


@pytest.fixture
def hub(settings: Settings, bus: Bus, tmp_path: Path) -> Iterator[Web]:
    with Web("hub", settings, tmp_path / "hub.log", HUB_DRAIN_DELAY="2", HUB_DRAIN_SECONDS="1") as process:
        yield process


def drain(hub: Web, **headers: str) -> tuple[int, Any]:
    answer = Server("127.0.0.1", hub.port).request("POST", "/hub/drain", headers=headers)
    return answer.status, orjson.loads(answer.body)


def code_of(hub: Web, path: str) -> tuple[int, str]:
    status, body = get(hub.url, path)
    return status, orjson.loads(body)["error"]["code"]


def test_web_pages_and_foreign_names_may_not_drain(hub: Web) -> None:
    for headers in ({"Origin": hub.url}, {"Origin": "null"}, {"Host": "evil.example"}):
        status, body = drain(hub, **headers)
        assert (status, body["error"]["code"]) == (403, "forbidden")
    assert get(hub.url, "/hub/drain")[0] == 405
    assert get(hub.url, "/hub/health")[0] == 200


def test_drained_hub_refuses_at_once_and_closes_each_client_after_its_last_message(hub: Web, bus: Bus) -> None:
    clients = [PythonClient(hub.url, [transport]) for transport in ("websocket", "polling")]
    with clients[0], clients[1], Books(hub.port) as plain:
        for client in clients:
            client.call("subscribe", {"pairs": ["EUR_USD"]})
        plain.ask({"type": "ping"})
        assert drain(hub) == (202, {"draining": True, "clients": 3})
        bus.cache_price("EUR_USD", bid="1.1", ask="1.3")
        assert drain(hub)[0] == 202
        assert code_of(hub, OPENING) == code_of(hub, "/ws") == (503, "unavailable")
        assert code_of(hub, "/ws?sid=none") == (503, "unavailable")
        assert [get(hub.url, path)[0] for path in ("/hub/health", "/hub/live", "/hub/metrics")] == [503, 200, 200]
        for client in clients:
            client.wait("price_update")
            assert client.wait("error")["code"] == "unavailable"
            client.wait("disconnect")
            assert [event for event, _ in client.received].index("error") > [event for event, _ in client.received].index("price_update")
        assert plain.next_of("error")["error"]["code"] == "unavailable"
        with pytest.raises(Closed) as closed:
            plain.body()
        assert closed.value.code == 1001
    until(lambda: [each.draining for each in living_hubs(bus, utc_now())] == [True], what="the report of the drain")
    assert drain(hub) == (202, {"draining": True, "clients": 0})
    assert hub.ask_to_stop() == 0
    assert living_hubs(bus, utc_now()) == []


def test_hub_without_clients_stops_without_the_delay(hub: Web) -> None:
    hub.environ |= {"HUB_DRAIN_DELAY": "3000", "HUB_DRAIN_SECONDS": "3000"}
    hub.kill(signal.SIGKILL)
    hub.start()
    assert hub.ask_to_stop() == 0
