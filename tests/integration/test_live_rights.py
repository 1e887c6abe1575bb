"""Rights of connected clients on a real hub: expiry, revocation, changed keys, new tokens."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
import redis as redis_client
from socketio.exceptions import ConnectionError as NotConnected

from config.settings import Settings
from db.bus import Bus, Snapshot
from db.postgres import Store
from db.timestamps import format_time
from tests.conformance.http_client import Server
from tests.conformance.polling_client import Polling
from tests.conformance.websocket_client import Closed, WebSocket
from tests.conftest import Servers, until
from tests.integration.conftest import SHARED_REDIS_DATABASE
from tests.support import hub_books
from tests.support.access import REQUIRED, Keys, jwt_of
from tests.support.clients import NodeClient, PythonClient
from tests.support.processes import Web
from tests.support.servers import of_database

ENGINE = "/socket.io/"
SECOND = timedelta(seconds=1)
Connect = Callable[..., PythonClient]


@pytest.fixture(scope="module")
def shared_variables() -> dict[str, str]:
    return {**REQUIRED, "JWT_LEEWAY_SECONDS": "0", "RATE_EVENTS": "5000/s"}


@pytest.fixture(scope="module")
def store(shared_settings: Settings) -> Iterator[Store]:
    with closing(Store(str(shared_settings.database_url))) as store:
        yield store


@pytest.fixture
def keys(store: Store, shared_bus: Bus) -> Keys:
    return Keys(store, shared_bus)


@pytest.fixture
def server(shared_hub: Web) -> Server:
    return Server("127.0.0.1", shared_hub.port)


@pytest.fixture
def open_client(shared_hub: Web) -> Iterator[Connect]:
    """Connect a client of python-socketio; all are closed after the test."""
    with ExitStack() as stack:

        def connect(auth: dict[str, str], transport: str = "websocket") -> PythonClient:
            client = PythonClient(shared_hub.url, [transport])
            stack.callback(client.__exit__, None, None, None)
            until(lambda: connects(client, auth), 30, "a hub that has read the key")
            return client

        yield connect


def connects(client: PythonClient, auth: dict[str, str]) -> bool:
    try:
        client.connect(auth)
    except NotConnected:
        return False
    return True


def ending(client: PythonClient | NodeClient, reason: str) -> None:
    """Wait for the error that ends a connection, and for its end."""
    body = client.wait("error", where=lambda body: body["event"] == "disconnect")
    assert (body["code"], body["details"]) == ("unauthorized", {"reason": reason, "reconnect": False})
    client.wait("disconnect")


def publish(bus: Bus, *names: str) -> None:
    for name in names:
        bus.cache_price(name, bid="1.1", ask="1.2", mid="1.15", time=datetime.now(UTC))


# the ends of connections


def test_revocation_ends_the_connections_of_the_key_alone(shared_hub: Web, server: Server, keys: Keys, open_client: Connect) -> None:
    key, other = keys.add(["read"]), keys.add(["read"])
    stays = open_client({"api_key": other})
    python, polling = open_client({"api_key": key}), open_client({"api_key": key}, "polling")
    with (
        NodeClient(shared_hub.url, auth={"api_key": key}) as node,
        NodeClient(shared_hub.url, ["polling"], auth={"api_key": key}) as node_polling,
        WebSocket(server, ENGINE) as raw,
    ):
        node.wait("connection_established")
        node_polling.wait("connection_established")
        raw.send(f'40{{"api_key":"{key}"}}')
        raw.packets(2)
        waiting, late = Polling(server, ENGINE), Polling(server, ENGINE)
        for session in (waiting, late):
            session.post(f'40{{"api_key":"{key}"}}')
            session.collect(2)
        with waiting.poll() as poll:
            keys.revoke(key)
            expected = {"code": "unauthorized", "message": "The credential was revoked.", "event": "disconnect"}
            expected_body = {**expected, "details": {"reason": "revoked", "reconnect": False}}
            for payload in (poll.answer().body, late.get().body):
                assert json.loads(payload[2:]) == ["error", expected_body]
            for session in (waiting, late):
                assert session.get().body == b"1"
        for client in (python, polling, node, node_polling):
            ending(client, "revoked")
        assert json.loads(str(raw.packet())[2:]) == ["error", expected_body]
        assert raw.packet() == "41"
        with pytest.raises(Closed) as closed:
            raw.packet()
        assert closed.value.code == 4401
        assert node.bodies("disconnect") == ["io server disconnect"]
        assert late.get().status == 400
    assert "code" not in stays.call("get_subscriptions")
    with pytest.raises(NotConnected):
        PythonClient(shared_hub.url).connect({"api_key": key})


def test_revocation_of_a_token_and_of_a_subject(keys: Keys, open_client: Connect) -> None:
    first, second = open_client({"token": jwt_of(jti="one", sub="bob")}), open_client({"token": jwt_of(jti="two", sub="bob")})
    other = open_client({"token": jwt_of(jti="three", sub="eve")})
    keys.revoke_token("one")
    ending(first, "revoked")
    assert second.bodies("error") == []
    keys.revoke_token(sub="bob")
    ending(second, "revoked")
    assert "code" not in other.call("ping")


def test_lost_message_delays_a_revocation_by_a_second(servers: Servers, store: Store, shared_bus: Bus, open_client: Connect) -> None:
    keys = Keys(store, shared_bus, announce=False)
    key = Keys(store, shared_bus).add(["read"])
    client = open_client({"api_key": key})
    keys.revoke(key)
    with closing(redis_client.Redis.from_url(of_database(servers.operator_url, SHARED_REDIS_DATABASE), protocol=2)) as raw:
        raw.set("tickwire:access:counter", "another")
    ending(client, "revoked")


def test_expiring_credential_is_announced_and_then_ends(keys: Keys, open_client: Connect) -> None:
    key = keys.add(["read"])
    by_key = open_client({"api_key": key}, "polling")
    by_token = open_client({"token": jwt_of(life=6)})
    expires = datetime.now(UTC) + 6 * SECOND
    keys.change(key, expires=expires)
    expected = {by_key: format_time(expires), by_token: by_token.bodies("connection_established")[0]["expires_at"]}
    for client, expires_at in expected.items():
        notice = client.wait("credentials_expiring")
        assert notice["expires_at"] == expires_at
        assert 0 <= notice["in_seconds"] <= 6
        ending(client, "expired")
        assert len(client.bodies("credentials_expiring")) == 1
    assert datetime.now(UTC) >= expires


def test_key_with_fewer_rights_ends_and_with_more_rights_stays(keys: Keys, open_client: Connect) -> None:
    key = keys.add(["read"], ["EUR_USD", "GBP_USD"])
    client = open_client({"api_key": key})
    client.call("subscribe", {"pairs": "all"})
    keys.change(key, instruments=["EUR_USD", "GBP_USD", "USD_JPY"], scopes=["read", "observe"])
    until(lambda: "code" not in client.stats())
    assert client.call("get_subscriptions")["pairs"] == ["EUR_USD", "GBP_USD"]
    assert client.call("subscribe", {"pairs": "USD_JPY"})["added"] == ["USD_JPY"]
    keys.change(key, name="another", rate_events="100/s")
    keys.change(key, instruments=["EUR_USD"])
    ending(client, "key_changed")
    again = open_client({"api_key": key})
    assert again.bodies("connection_established")[0]["available_pairs"] == ["EUR_USD"]


# new tokens


def test_refresh_with_fewer_rights_leaves_rooms_at_once(shared_bus: Bus, open_client: Connect) -> None:
    client = open_client({"token": jwt_of(["read", "observe"])})
    candles = [{"pair": pair, "interval": "1m"} for pair in ("EUR_USD", "BTCUSDT")]
    client.call("subscribe", {"pairs": ["EUR_USD", "BTCUSDT"], "candles": candles})
    for pair in ("EUR_USD", "BTCUSDT"):
        assert "code" not in client.call("set_alert", {"instrument": pair, "metric": "price", "op": ">", "value": "1"})
    answer = client.call("refresh", {"token": jwt_of(["read"], ["EUR_*"], life=900)})
    assert answer == client.wait("refreshed")
    assert (answer["scopes"], answer["instruments"]) == (["read"], ["EUR_*"])
    assert answer["removed"] == ["price_BTCUSDT", "candle_BTCUSDT_1m"]
    assert answer["expires_at"] > client.bodies("connection_established")[0]["expires_at"]
    publish(shared_bus, "BTCUSDT", "EUR_USD")
    client.wait("price_update")
    client.wait("alert_triggered")
    assert {body["instrument"] for body in client.bodies("price_update") + client.bodies("alert_triggered")} == {"EUR_USD"}
    held = client.call("get_subscriptions")
    assert (held["pairs"], held["candles"]) == (["EUR_USD"], candles[:1])
    assert client.call("get_server_stats")["code"] == "forbidden"
    assert client.call("subscribe", {"pairs": "BTCUSDT"})["rejected"][0]["code"] == "forbidden"
    assert client.call("refresh", {"token": jwt_of()})["removed"] == []
    assert client.call("subscribe", {"pairs": "BTCUSDT"})["added"] == ["BTCUSDT"]


def test_refresh_with_fewer_rights_leaves_the_rooms_of_books_and_heartbeats(shared_bus: Bus, open_client: Connect) -> None:
    client = open_client({"token": jwt_of(["read", "observe"])})
    pairs = ("EUR_USD", "BTCUSDT")
    shared_bus.publish_books([hub_books.message(1, depth, pair, starts=True) for pair in pairs for depth in (5, 20)])
    wanted = [{"pair": pair, "depth": depth} for pair in pairs for depth in (5, 20)]
    until(lambda: client.call("subscribe", {"books": wanted, "heartbeat": True})["rejected"] == [], what="the books in the hub")
    answer = client.call("refresh", {"token": jwt_of(["read"], ["EUR_*"], life=900)})
    assert answer["removed"] == ["book_BTCUSDT_5", "book_BTCUSDT_20", "heartbeat"]
    held = client.call("get_subscriptions")
    assert (held["books"], held["heartbeat"]) == (wanted[:2], False)
    shared_bus.publish_book_state(hub_books.state("BTCUSDT", "gap", "live", "crossed"))
    shared_bus.publish_heartbeat(hub_books.heartbeat({"EUR_USD": "live"}))
    shared_bus.publish_books([hub_books.message(2, 20, pair) for pair in reversed(pairs)])
    # A snapshot if the hub was still about to catch up with the new epoch.
    until(lambda: client.bodies("book_update") + client.bodies("book_snapshot"), what="the second book")
    assert {body["instrument"] for body in client.bodies("book_update") + client.bodies("book_snapshot")} == {"EUR_USD"}
    assert client.bodies("heartbeat") == []
    assert "BTCUSDT" not in {body["instrument"] for body in client.bodies("book_state")}
    assert client.call("request_book", {"instrument": "BTCUSDT", "depth": 20})["code"] == "forbidden"


def test_refresh_prolongs_the_connection_and_loses_no_price(shared_bus: Bus, open_client: Connect) -> None:
    """1,000 new tokens, each within 10 s of the expiry of the last one, and a price for each."""
    client = open_client({"token": jwt_of(life=10, sub="carl")})
    client.call("subscribe", {"pairs": "EUR_GBP"})
    expiries = set()
    for number in range(1000):
        publish(shared_bus, "EUR_GBP")
        answer = client.call("refresh", {"token": jwt_of(life=10, sub="carl", jti=str(number))})
        assert answer["removed"] == []
        expiries.add(answer["expires_at"])
    client.wait("price_update", 1000)
    seqs = client.seqs("EUR_GBP")
    assert seqs == list(range(seqs[0], seqs[0] + 1000))
    assert len(expiries) == 1000
    assert client.bodies("error") == client.bodies("disconnect") == []


def test_refresh_by_another_caller_is_unauthorized_and_changes_nothing(keys: Keys, open_client: Connect) -> None:
    key, other = keys.add(["read"], ["EUR_USD"]), keys.add(["read"])
    by_token, by_key = open_client({"token": jwt_of(["read"], ["EUR_USD"])}), open_client({"api_key": key})
    open_client({"api_key": other})
    for client, token in (
        (by_token, jwt_of(sub="eve")),
        (by_token, other),
        (by_token, "a.b.c"),
        (by_token, jwt_of(life=-60)),
        (by_key, other),
        (by_key, jwt_of()),
    ):
        answer = client.call("refresh", {"token": token})
        assert (answer["code"], answer["event"], answer["details"]) == ("unauthorized", "refresh", {})
        assert client.call("subscribe", {"pairs": "all"})["pairs"] == ["EUR_USD"]
    assert by_key.call("refresh", {"token": key})["expires_at"] is None
    assert by_token.call("refresh", {})["details"] == {"token": ["Missing data for required field."]}
    assert by_token.call("refresh", {"token": "x" * 5000})["code"] == "invalid_payload"


def test_polls_may_carry_the_new_token_and_the_old_one(server: Server) -> None:
    first, second = jwt_of(jti="first", sub="dora"), jwt_of(jti="second", sub="dora")
    polling = Polling(server, ENGINE, {"Authorization": f"Bearer {first}"})
    polling.post("40")
    polling.collect(2)
    headers = {"Authorization": f"Bearer {second}"}
    assert polling.post('42["ping"]', headers).status == 401
    polling.post("42" + orjson.dumps(["refresh", {"token": second}]).decode())
    assert polling.collect(1)[0].startswith('42["refreshed"')
    for token in (first, second):
        assert polling.post('42["ping"]', {"Authorization": f"Bearer {token}"}).body == b"ok"


# broadcasts


def test_broadcasts_go_by_rights(shared_bus: Bus, keys: Keys, open_client: Connect) -> None:
    auths: dict[str, Any] = {
        "both": (["read"], ["EUR_USD", "GBP_USD"]),
        "one": (["read"], ["EUR_USD"]),
        "none": (["observe"], ["*"]),
    }
    clients = {name: open_client({"api_key": keys.add(*rights)}) for name, rights in auths.items()}
    for name in ("both", "one"):
        clients[name].call("subscribe", {"pairs": "all"})
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    shared_bus.publish_correlation_alert("EUR_USD", "GBP_USD", 0.5, previous=0.875, threshold=0.2, severity="warning")
    shared_bus.publish_data_ready("volatility", ["EUR_USD", "GBP_USD", "BTCUSDT"], hour)
    shared_bus.publish_data_ready("hourly_candles", ["BTCUSDT"], hour)
    publish(shared_bus, "EUR_USD")
    for name in ("both", "one"):
        clients[name].wait("price_update")
    for client in clients.values():
        client.call("ping")
    assert {name: len(client.bodies("correlation_alert")) for name, client in clients.items()} == {"both": 1, "one": 0, "none": 0}
    ready = {name: [body["instruments"] for body in client.bodies("data_ready")] for name, client in clients.items()}
    assert ready == {"both": [["EUR_USD", "GBP_USD"], []], "one": [["EUR_USD"], []], "none": []}
    assert [body["seq"] for body in clients["one"].bodies("data_ready")] == [1, 1]


# the bus grants nothing


def test_arbitrary_messages_grant_nothing_and_close_nothing(servers: Servers, keys: Keys, shared_hub: Web, open_client: Connect) -> None:
    key = keys.add(["read"], ["EUR_USD"])
    client = open_client({"api_key": key})
    numbers = random.Random(7)
    with closing(redis_client.Redis.from_url(of_database(servers.operator_url, SHARED_REDIS_DATABASE), protocol=2)) as raw:
        pipe = raw.pipeline(transaction=False)
        forged = orjson.dumps({"id": key.split("_")[1], "scopes": ["read", "observe", "operate"], "instruments": ["*"], "revoked": None})
        for number in range(10_000):
            pipe.publish("tickwire:access", forged if number % 10 == 0 else numbers.randbytes(numbers.randrange(80)))
            if number % 1000 == 0:
                pipe.set("tickwire:access:counter", numbers.randbytes(20))
        pipe.execute()
    witness = open_client({"api_key": keys.add(["read"])})  # the hub has read all messages
    assert client.call("get_server_stats")["code"] == "forbidden"
    assert client.call("subscribe", {"pairs": "all"})["pairs"] == ["EUR_USD"]
    assert [name for name, _ in client.received if name == "disconnect"] == []
    assert "code" not in witness.call("ping")
    with pytest.raises(NotConnected):
        PythonClient(shared_hub.url).connect({"api_key": "tw_abcd1234_" + "B" * 43})


# the namespace /metrics


def test_refresh_holds_for_metrics_of_the_session(server: Server, shared_bus: Bus) -> None:
    with WebSocket(server, ENGINE) as socket:
        socket.send(f'40{{"token":"{jwt_of(["read", "observe"])}"}}')
        socket.packets(2)
        socket.send(f'40/metrics,{{"token":"{jwt_of(["observe", "report"], life=900)}"}}')
        assert str(socket.packet()).startswith("40/metrics,")
        socket.send('42/metrics,["subscribe",{"channels":"all"}]')
        assert "subscription_confirmed" in str(socket.packet())
        socket.send(json_event("refresh", {"token": jwt_of(["read", "report"])}))
        assert str(socket.packet()).startswith('42["refreshed"')
        shared_bus.publish_snapshot(Snapshot("2025-11-18T12:00:00Z", 1, "e", {}, {}))
        shared_bus.publish_events([{"event_id": "1", "event_type": "system_alert", "source": "observer", "metadata": {}, "details": {}}])
        publish(shared_bus, "EUR_USD")
        socket.send(json_event("subscribe", {"pairs": "EUR_USD"}))
        until(lambda: '"seq"' in str(ask(socket, json_event("request_price", {"instrument": "EUR_USD"}))))
        socket.send('42/metrics,["ping"]')
        assert next_of_metrics(socket).startswith('42/metrics,["pong"')
        socket.send('42/metrics,["get_subscriptions"]')
        assert '"scope":["observe"]' in next_of_metrics(socket)


def test_expiry_ends_a_client_of_metrics(server: Server) -> None:
    with WebSocket(server, ENGINE) as socket:
        socket.send(f'40/metrics,{{"token":"{jwt_of(["observe"], life=2)}"}}')
        assert str(socket.packet()).startswith("40/metrics,")
        body = json.loads(str(socket.packet()).removeprefix("42/metrics,"))
        assert (body[0], body[1]["code"], body[1]["details"]["reason"]) == ("error", "unauthorized", "expired")
        assert str(socket.packet()) == "41/metrics,"
        with pytest.raises(Closed) as closed:
            socket.packet()
        assert closed.value.code == 4401


def json_event(name: str, body: Any) -> str:
    return "42" + json.dumps([name, body])


def ask(socket: WebSocket, event: str) -> str:
    socket.send(event)
    return str(socket.packet())


def next_of_metrics(socket: WebSocket) -> str:
    """Return the next packet of `/metrics`; prices come between its packets."""
    return next(packet for packet in iter(lambda: str(socket.packet()), "") if packet.startswith("42/metrics"))
