"""Events × scopes × instruments × credentials on a real hub, generated from the table of events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from socketio.exceptions import ConnectionError as NotConnected

from api.access.model import OPEN, SCOPES
from api.hub.events import CLIENT_EVENTS, MAIN, ClientEvent
from config.settings import Settings
from db.bus import Bus
from db.postgres import Store
from tests.conformance.http_client import Server
from tests.conformance.polling_client import Polling
from tests.conformance.websocket_client import WebSocket
from tests.conftest import until
from tests.support import hub_books
from tests.support.access import REQUIRED, UNKNOWN_KEY, Keys, jwt_of
from tests.support.clients import PythonClient
from tests.support.payloads import METRICS_PAYLOADS
from tests.support.processes import Web
from tests.support.reports import fill_body

ENGINE = "/socket.io/"
INSIDE, OUTSIDE = "EUR_USD", "BTCUSDT"
# The scopes of the page "Access control", section 4; any valid credential may send the others.
READ = {
    "subscribe", "unsubscribe", "get_subscriptions", "request_price", "request_book", "request_all_prices", "set_alert", "list_alerts",
    "delete_alert",
}  # fmt: skip
OBSERVE = {"get_server_stats"}
ANY = {"ping", "refresh"}
# event -> the payload about an instrument; None if the event is about none
PAYLOADS: dict[str, Any] = {
    "subscribe": lambda name: {"pairs": [name], "candles": [{"pair": name, "interval": "1m"}], "books": [{"pair": name, "depth": 20}]},
    "unsubscribe": lambda name: {"pairs": [name], "candles": [{"pair": name, "interval": "1m"}], "books": [{"pair": name, "depth": 20}]},
    "request_book": lambda name: {"instrument": name, "depth": 20},
    "request_price": lambda name: {"instrument": name},
    "set_alert": lambda name: {"instrument": name, "metric": "price", "op": ">", "value": "9"},
    "get_subscriptions": None,
    "request_all_prices": None,
    "get_server_stats": None,
    "ping": None,
    "refresh": None,
    "list_alerts": None,
    "delete_alert": None,
}
ROWS = [row for row in CLIENT_EVENTS.values() if row.namespace == MAIN]
# event of the namespace `/metrics` -> its scope, by the page "Observability", section 3
METRICS = {
    "subscribe": "observe", "unsubscribe": "observe", "get_subscriptions": "observe", "report": "report",
    "acknowledge_alert": "operate", "ping": OPEN,
}  # fmt: skip


@pytest.fixture(scope="module")
def shared_variables() -> dict[str, str]:
    return REQUIRED


@pytest.fixture
def keys(shared_settings: Settings, shared_bus: Bus) -> Iterator[Keys]:
    with closing(Store(str(shared_settings.database_url))) as store:
        yield Keys(store, shared_bus)


def price(bus: Bus, hub: Web, key: str) -> None:
    """Publish a price and a book of both instruments and wait until the hub has them."""
    for name in (INSIDE, OUTSIDE):
        bus.cache_price(name, bid="1.1", ask="1.2", mid="1.15", time=datetime.now(UTC))
        bus.publish_books([hub_books.message(1, 20, name, starts=True)])
    with closing(client_of(hub, key)) as client:
        until(lambda: client.call("request_all_prices")["count"] == 2)
        for name in (INSIDE, OUTSIDE):
            until(lambda: "code" not in client.call("request_book", {"instrument": name, "depth": 20}))  # noqa: B023


class Client(PythonClient):
    """A client that is closed like a file."""

    def close(self) -> None:
        self.__exit__(None, None, None)


def client_of(hub: Web, key: str, transport: str = "websocket", namespace: str = MAIN) -> Client:
    client = Client(hub.url, [transport], namespace=namespace)
    until(lambda: connects(client, {"api_key": key}), 30, "a hub that has read the key")
    return client


def connects(client: PythonClient, auth: Any) -> bool:
    try:
        client.connect(auth)
    except NotConnected:
        return False
    return True


def test_event_has_the_scope_of_the_page() -> None:
    expected = {**dict.fromkeys(READ, "read"), **dict.fromkeys(OBSERVE, "observe"), **dict.fromkeys(ANY, OPEN)}
    assert {row.name: row.scope for row in ROWS} == expected
    assert set(PAYLOADS) == set(expected)
    assert {row.name: row.scope for row in CLIENT_EVENTS.values() if row.namespace == "/metrics"} == METRICS


@pytest.mark.parametrize("scope", SCOPES)
def test_each_event_with_one_scope_and_an_instrument_in_or_out(scope: str, shared_hub: Web, keys: Keys, shared_bus: Bus) -> None:
    key = keys.add([scope], ["EUR_*", "!EUR_CHF"])
    price(shared_bus, shared_hub, keys.add(["read"]))
    with closing(client_of(shared_hub, key, "polling" if scope == "observe" else "websocket")) as client:
        greeting = client.bodies("connection_established")[0]
        assert (greeting["key_id"], greeting["scopes"], greeting["expires_at"]) == (key.split("_")[1], [scope], None)
        readable = greeting["available_pairs"]
        assert all(name.startswith("EUR_") and name != "EUR_CHF" for name in readable)
        assert (INSIDE in readable) is (scope == "read")
        for row in ROWS:
            for name in (INSIDE, OUTSIDE):
                check(row, name, client.call(row.name, payload_of(row, name)), {scope}, key)


def payload_of(row: ClientEvent, name: str) -> dict[str, Any]:
    make = PAYLOADS[row.name]
    if make is not None:
        return dict(make(name))
    return {"token": jwt_of()} if row.name == "refresh" else {"id": "all"} if row.name == "delete_alert" else {}


def check(row: ClientEvent, name: str, answer: Any, scopes: set[str], key: str) -> None:
    """Compare an answer with the page."""
    if row.name in READ | OBSERVE and not {"read" if row.name in READ else "observe"} & scopes:
        needed = "read" if row.name in READ else "observe"
        assert (answer["code"], answer["event"], answer["details"]) == ("forbidden", row.name, {"scope": [needed]})
    elif row.name == "refresh":
        assert (answer["code"], answer["event"]) == ("unauthorized", "refresh")  # a token of another caller
    elif name == OUTSIDE and row.name == "subscribe":
        assert answer["added"] == []
        assert [each["code"] for each in answer["rejected"]] == ["forbidden"] * 3
        assert answer["books"] == [{"pair": INSIDE, "depth": 20}]
    elif name == OUTSIDE and row.name in ("request_price", "request_book", "set_alert"):
        assert (answer["code"], answer["event"]) == ("forbidden", row.name)
    else:
        assert "code" not in answer, (row.name, answer)
        if row.name == "subscribe":
            assert answer["added"] == [name]
            assert answer["rejected"] == []
            assert [each["instrument"] for each in answer["book_snapshot"]] == [name]
        if row.name == "request_all_prices":
            assert list(answer["prices"]) == [INSIDE]
        if row.name == "get_server_stats":
            assert OUTSIDE not in answer["subscriptions_by_pair"]


@pytest.mark.parametrize("scope", SCOPES)
def test_heartbeats_need_observe_and_scenario_changes_come_with_them(scope: str, shared_hub: Web, keys: Keys, shared_bus: Bus) -> None:
    with closing(client_of(shared_hub, keys.add([scope], ["EUR_*"]))) as client:
        answer = client.call("subscribe", {"heartbeat": True})
        if scope != "observe":
            needed = "observe" if scope == "read" else "read"
            assert (answer["code"], answer["event"], answer["details"]) == ("forbidden", "subscribe", {"scope": [needed]})
            return
        assert (answer["pairs"], answer["books"], answer["heartbeat"], answer["book_snapshot"]) == ([], [], True, [])
        shared_bus.publish_heartbeat(hub_books.heartbeat({INSIDE: "live", OUTSIDE: "live"}))
        assert list(client.wait("heartbeat")) == [*hub_books.heartbeat({}), "timestamp", "seq", "epoch"]
        shared_bus.publish_scenario_change({"previous_scenario": None, "current_scenario": "burst-mode", "run_id": "1"})
        assert client.wait("scenario_changed")["current_scenario"] == "burst-mode"
        assert client.call("unsubscribe", {"heartbeat": True})["heartbeat"] is False


@pytest.mark.parametrize("transport", ["websocket", "polling"])
@pytest.mark.parametrize(
    "auth",
    [None, {}, {"api_key": UNKNOWN_KEY}, {"api_key": "short"}, {"token": "a.b.c"}, {"token": 5}, {"api_key": ""}],
    ids=["no", "empty", "unknown", "malformed", "bad-token", "number", "empty-key"],
)
def test_missing_or_bad_credential_is_a_connect_error(auth: Any, transport: str, shared_hub: Web) -> None:
    answer = answer_to_connect(shared_hub, transport, "40" if auth is None else f"40{json.dumps(auth)}")
    body = {"code": "unauthorized", "message": "A valid credential is needed.", "event": "connect", "details": {}}
    assert (answer[:2], json.loads(answer[2:])) == ("44", {"message": "unauthorized", "data": body})


@pytest.mark.parametrize("scope", SCOPES)
def test_each_event_of_metrics_with_one_scope(scope: str, shared_hub: Web, keys: Keys) -> None:
    key = keys.add([scope], ["EUR_*"])
    if scope not in METRICS.values():
        client_of(shared_hub, key).close()  # the hub has read the key
        answer = json.loads(answer_to_connect(shared_hub, "websocket", f'40/metrics,{{"api_key":"{key}"}}').removeprefix("44/metrics,"))
        assert (answer["message"], answer["data"]["event"]) == ("forbidden", "connect")
        assert answer["data"]["details"] == {"scope": ["observe", "report", "operate"]}
        return
    with closing(client_of(shared_hub, key, "polling" if scope == "report" else "websocket", "/metrics")) as client:
        for name, needed in METRICS.items():
            answer = client.call(name, METRICS_PAYLOADS[name])
            if needed not in (scope, OPEN):
                assert (answer["code"], answer["event"], answer["details"]) == ("forbidden", name, {"scope": [needed]})
            elif name == "report":  # its time is too old
                assert [each["code"] for each in answer["rejected"]] == ["invalid_payload"]
            elif name == "acknowledge_alert":
                assert answer["code"] == "not_found"
            else:
                assert "code" not in answer, (name, answer)


@pytest.mark.parametrize("transport", ["websocket", "polling"])
@pytest.mark.parametrize("auth", [None, {"api_key": UNKNOWN_KEY}, {"token": "a.b.c"}], ids=["no", "unknown", "bad-token"])
def test_metrics_has_a_credential_of_its_own(auth: Any, transport: str, shared_hub: Web) -> None:
    answer = answer_to_connect(shared_hub, transport, "40/metrics," + ("" if auth is None else json.dumps(auth)))
    assert json.loads(answer.removeprefix("44/metrics,"))["data"]["code"] == "unauthorized"


def test_key_reports_for_its_bots_alone(shared_hub: Web, keys: Keys) -> None:
    key = keys.add(["report"])
    keys.change(key, bots=["a"])
    moment = datetime.now(UTC).isoformat()
    reports = [fill_body(number, bot=bot, time=moment) for number, bot in enumerate(("a", "b", "a"))]
    with closing(client_of(shared_hub, key, namespace="/metrics")) as client:
        until(lambda: client.call("report", {"reports": reports[:1]})["rejected"] == [])
        answer = client.call("report", {"reports": reports})
        assert (answer["accepted"], answer["duplicates"]) == (1, 1)
        assert [(each["index"], each["code"]) for each in answer["rejected"]] == [(1, "forbidden")]


def answer_to_connect(hub: Web, transport: str, packet: str) -> str:
    """Return the first packet after CONNECT. A stock client reports a refusal seconds later."""
    server = Server("127.0.0.1", hub.port)
    if transport == "polling":
        polling = Polling(server, ENGINE)
        polling.post(packet)
        return polling.collect(1)[0]
    with WebSocket(server, ENGINE) as socket:
        socket.send(packet)
        return str(socket.packet())


def test_statistics_name_permitted_instruments_only(shared_hub: Web, keys: Keys) -> None:
    with (
        closing(client_of(shared_hub, keys.add(["read"]))) as every,
        closing(client_of(shared_hub, keys.add(["observe"], ["EUR_*"]))) as some,
    ):
        every.call("subscribe", {"pairs": [INSIDE, OUTSIDE]})
        until(lambda: some.stats()["total_subscriptions"] == 2)  # clients of earlier tests have gone
        assert some.stats()["subscriptions_by_pair"] == {INSIDE: 1}
