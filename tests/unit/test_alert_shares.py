"""The share of one address in the alerts of the hub; the limit of each client stays."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from api.access.model import Handshake, OpenAuthenticator
from api.access.peers import Peers
from api.hub.alerts.requests import AlertRequests
from api.hub.alerts.rules import MAX_RULES_PER_HUB, MAX_RULES_PER_OWNER, RuleIndex
from api.hub.events import Events
from api.hub.fanout import Fanout
from api.hub.topic_log import TopicLog
from api.hub.transport.limits.bucket import Allowance, Bucket
from api.hub.transport.outbox import Outbox
from tests.support.hub_books import no_books
from tests.unit.test_access import Owner

SHARE = 6
RULE = {"instrument": "EUR_USD", "metric": "price", "op": ">", "value": "1.5"}


class Hub:
    def __init__(self, trusted: tuple[str, ...] = ()) -> None:
        self.index = RuleIndex(max_per_client=4, max_in_hub=100, max_per_owner=SHARE)
        fanout = Fanout(lambda: 0.0, lambda seconds, function: function())
        alerts = AlertRequests(self.index, {"EUR_USD"}, lambda series: None, "abc")
        self.events = Events(
            {"/": fanout}, TopicLog(), ["EUR_USD"], alerts, OpenAuthenticator(),
            books=no_books(), max_clients=99, ping_interval=25, ping_timeout=5, timestamp=lambda: "2025-11-18T12:00:00.000000Z", stats=dict,
            peers=Peers(trusted),
        )  # fmt: skip

    def client(self, name: str, address: str) -> str:
        self.events.admit(name, Handshake("websocket", address, {}))
        box = Outbox(Owner(), 2**20)
        box.open(len)
        self.events.connected(name, box, Bucket(Allowance(50, 200, lambda: 0.0)))
        return name

    def set(self, client: str, **more: Any) -> dict[str, Any]:
        data = self.events.answer(client, "set_alert", [{**RULE, **more}])
        assert isinstance(data, bytes)
        answer: dict[str, Any] = orjson.loads(data)
        return answer


def test_share_is_a_twentieth_of_all() -> None:
    assert (MAX_RULES_PER_OWNER, MAX_RULES_PER_HUB) == (10_000, 200_000)


def test_address_reaches_its_share_and_another_sets_a_rule() -> None:
    hub = Hub()
    clients = [hub.client(f"a{number}", "192.0.2.1") for number in range(3)]
    for number in range(SHARE):
        assert "alert" in hub.set(clients[number % 3])
    refused = hub.set(clients[2])
    assert (refused["code"], refused["details"]) == ("too_many_requests", {"limit": SHARE})
    assert "alert" in hub.set(hub.client("b", "192.0.2.2"))


@pytest.mark.parametrize("leave", ["delete", "disconnect"])
def test_share_is_free_again_after_rules_are_gone(leave: str) -> None:
    hub = Hub()
    first, second = hub.client("a", "192.0.2.1"), hub.client("b", "192.0.2.1")
    for number in range(SHARE):
        hub.set((first, second)[number % 2])
    if leave == "delete":
        hub.events.answer(first, "delete_alert", [{"id": "all"}])
    else:
        hub.events.disconnected(first)
    for _ in range(SHARE // 2 - 2):
        assert "alert" in hub.set(second)
    assert len(hub.index) == SHARE // 2 + 1


def test_rule_that_fired_once_frees_its_place() -> None:
    hub = Hub()
    clients = [hub.client(f"a{number}", "192.0.2.1") for number in range(2)]
    for number in range(SHARE):
        hub.set(clients[number % 2], once=True)
    assert len(hub.index.observe(("EUR_USD", "price"), "1.6")) == SHARE
    for number in range(SHARE):
        assert "alert" in hub.set(clients[number % 2])


@pytest.mark.parametrize(("trusted", "limited"), [((), False), (("10.0.0.0/8",), True)])
def test_loopback_has_no_share_unless_a_proxy_is_trusted(trusted: tuple[str, ...], limited: bool) -> None:
    hub = Hub(trusted)
    clients = [hub.client(f"a{number}", "127.0.0.1") for number in range(3)]
    for number in range(SHARE):
        hub.set(clients[number % 3])
    assert ("code" in hub.set(clients[0])) is limited
