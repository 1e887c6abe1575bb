"""`subscribe {"alerts": "all"}`: receivers, rights, refusals, clients after a kill of the hub."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
from tickwire_client import AsyncClient, Client

from db.bus import Bus
from tests.conftest import until
from tests.support.access import REQUIRED, jwt_of
from tests.support.clients import FxNode, PythonClient
from tests.support.processes import Web

ALL = {"alerts": "all"}
NOON = datetime(2025, 11, 18, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def shared_variables() -> dict[str, str]:
    return {**REQUIRED, "AUTH": "auto"}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def joined(stack: ExitStack, hub: Web, token: str | None = None) -> PythonClient:
    """Return a client of python-socketio; without a token it is anonymous."""
    client = PythonClient(hub.url)
    stack.callback(client.__exit__, None, None, None)
    client.connect(None if token is None else {"token": token})
    return client


def publish_alerts(bus: Bus, volatility: float = 0.03) -> None:
    """Publish three alerts, and `data_ready`, which every client receives after them."""
    bus.publish_volatility_alert("EUR_USD", volatility, threshold=0.02, severity="warning")
    bus.publish_volatility_alert("GBP_USD", volatility, threshold=0.02, severity="warning")
    bus.publish_correlation_alert("EUR_USD", "GBP_USD", 0.1, previous=0.9, threshold=0.2, severity="critical")
    bus.publish_data_ready("volatility", ["EUR_USD"], NOON)


def alerts_of(client: PythonClient, ready: int = 1) -> list[str]:
    """Return the subjects of the alerts that the client received before the last `data_ready`."""
    client.wait("data_ready", ready)
    bodies = [body for name, body in client.received if name in ("volatility_alert", "correlation_alert")]
    return [body.get("instrument") or f"{body['instrument1']}|{body['instrument2']}" for body in bodies]


def test_alerts_all_reach_each_reader_once(stack: ExitStack, shared_hub: Web, shared_bus: Bus) -> None:
    every, both, some, none = (joined(stack, shared_hub, token) for token in (None, None, jwt_of(instruments=["EUR_*"]), None))
    answer = every.call("subscribe", ALL)
    assert (answer["pairs"], answer["added"], answer["rejected"], answer["max_rate"], answer["alerts"]) == ([], [], [], None, "all")
    assert every.wait("subscription_confirmed") == answer
    both.call("subscribe", {"pairs": ["EUR_USD", "GBP_USD"], "max_rate": 0.1, **ALL})
    assert some.call("subscribe", {"pairs": ["EUR_USD"], **ALL})["alerts"] == "all"
    none.call("subscribe", {"pairs": ["USD_JPY"]})
    shared_bus.cache_price("EUR_USD", bid="1.1", ask="1.2", mid="1.15", time=NOON)
    publish_alerts(shared_bus)
    assert alerts_of(every) == alerts_of(both) == ["EUR_USD", "GBP_USD", "EUR_USD|GBP_USD"]
    assert (alerts_of(some), alerts_of(none)) == (["EUR_USD"], [])
    assert every.bodies("price_update") == []


def test_alerts_all_are_shown_while_they_are_held_and_end(stack: ExitStack, shared_hub: Web, shared_bus: Bus) -> None:
    client = joined(stack, shared_hub)
    assert "alerts" not in client.call("get_subscriptions")
    client.call("subscribe", ALL)
    held = [client.call(*request)["alerts"] for request in (("get_subscriptions",), ("subscribe", {"pairs": ["EUR_USD"]}))]
    assert [*held, client.call("unsubscribe", {"pairs": "all"})["alerts"]] == ["all"] * 3
    assert client.call("unsubscribe", ALL)["alerts"] is None
    assert "alerts" not in client.call("get_subscriptions")
    publish_alerts(shared_bus)
    assert alerts_of(client) == []


@pytest.mark.parametrize("value", ["EUR_USD", "", None, True, ["all"]])
def test_other_value_of_alerts_is_refused(value: Any, stack: ExitStack, shared_hub: Web) -> None:
    client = joined(stack, shared_hub)
    for event in ("subscribe", "unsubscribe"):
        answer = client.call(event, {"pairs": ["EUR_USD"], "alerts": value})
        assert (answer["code"], list(answer["details"])) == ("invalid_payload", ["alerts"])
    assert client.call("get_subscriptions")["pairs"] == []


def test_alerts_all_need_read_and_end_with_it(stack: ExitStack, shared_hub: Web, shared_bus: Bus) -> None:
    observer = joined(stack, shared_hub, jwt_of(["observe"], sub="eve"))
    assert observer.call("subscribe", ALL)["details"] == {"scope": ["read"]}
    client = joined(stack, shared_hub, jwt_of(["read", "observe"]))
    client.call("subscribe", ALL)
    fewer = client.call("refresh", {"token": jwt_of(["read"], ["GBP_*"])})
    assert fewer["removed"] == []  # `alerts` is a room of `/metrics` too, which needs `observe`
    publish_alerts(shared_bus)
    assert alerts_of(client) == ["GBP_USD"]
    assert client.call("refresh", {"token": jwt_of(["observe"])})["removed"] == ["alerts"]


def test_alerts_all_are_restored_by_each_client_after_a_kill(shared_hub: Web, shared_bus: Bus) -> None:
    asyncio.run(_restored(shared_hub, shared_bus))


async def _restored(hub: Web, bus: Bus) -> None:
    blocking: list[str] = []
    with Client(hub.url) as client, FxNode(hub.url) as node:
        async with AsyncClient(hub.url) as aio:
            concurrent: list[str] = []
            for each, found in ((client, blocking), (aio, concurrent)):
                each.on_volatility_alert(lambda alert, found=found: found.append(alert.instrument))
                each.on_correlation_alert(lambda alert, found=found: found.append(alert.instrument1))
            node.call("connect")
            assert client.subscribe(alerts="all")["alerts"] == (await aio.subscribe(alerts="all"))["alerts"] == "all"
            assert node.call("subscribe", None, {"alerts": "all"})["alerts"] == "all"
            hub.kill()
            hub.start()
            until(lambda: client.connected and aio.connected and node.get("connected"), 60, "all clients are connected again")
            publish_alerts(bus)
            node.wait("onDataReady")
            seen = [*node.bodies("onVolatilityAlert"), *node.bodies("onCorrelationAlert")]
            assert [body.get("instrument", body.get("instrument1")) for body in seen] == ["EUR_USD", "GBP_USD", "EUR_USD"]
            while min(len(blocking), len(concurrent)) < 3:
                await asyncio.sleep(0.02)
            assert blocking == concurrent == ["EUR_USD", "GBP_USD", "EUR_USD"]
            assert client.unsubscribe(alerts="all")["alerts"] is None
            assert (await aio.unsubscribe(alerts="all"))["alerts"] is None
            assert node.call("unsubscribe", None, {"alerts": "all"})["alerts"] is None
