"""The hub as a process, with stock clients: every event, both answers, both transports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis as redis_client
import socketio

from config.settings import Settings
from db.bus import Bus
from db.messages import Stamp, Tick
from tests.conftest import until
from tests.support.clients import NodeClient, PythonClient
from tests.support.processes import Web

Client = PythonClient | NodeClient
CLIENTS: dict[str, Callable[[str], Client]] = {
    "python-websocket": lambda url: PythonClient(url),
    "python-polling": lambda url: PythonClient(url, ["polling"]),
    "python-upgrade": lambda url: PythonClient(url, ["polling", "websocket"]),
    "node-websocket": lambda url: NodeClient(url),
    "node-polling": lambda url: NodeClient(url, ["polling"]),
    "node-upgrade": lambda url: NodeClient(url, ["polling", "websocket"]),
}
UNPRICED = "AUD_NZD"  # no test publishes a price of it


@pytest.fixture(params=CLIENTS)
def shared_client(request: pytest.FixtureRequest, shared_hub: Web) -> Iterator[Client]:
    with CLIENTS[request.param](shared_hub.url) as client:
        client.wait("connection_established")
        yield client


@pytest.fixture
def hub(settings: Settings, bus: Bus, tmp_path: Path) -> Iterator[Web]:
    with Web("hub", settings, tmp_path / "hub.log", WEBSOCKET_MAX_CLIENTS="5") as process:
        yield process


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, hub: Web) -> Iterator[Client]:
    with CLIENTS[request.param](hub.url) as client:
        client.wait("connection_established")
        yield client


def publish(bus: Bus, count: int = 1, instrument: str = "EUR_USD") -> Stamp:
    """Publish prices with distinct bids; return the stamp of the last one."""
    for number in range(count):
        last = bus.cache_price(instrument, bid=f"1.{number:05}", ask="2.5", mid="2", time=datetime(2025, 11, 18, tzinfo=UTC))
    return last


def arrived(client: Client, stamp: Stamp, instrument: str = "EUR_USD") -> Any:
    """Wait until the price with this stamp is the latest one of the hub, and return it."""

    def latest() -> Any:
        body = client.call("request_price", {"instrument": instrument})
        return body if (body.get("seq"), body.get("epoch")) == (stamp.seq, stamp.epoch) else None

    return until(latest, what=f"{instrument} with {stamp}")


def answers(client: Client, event: str, answer_event: str, *payload: Any) -> Any:
    """Return the body of the ack, after the check that the event has the same body."""
    before = len(client.bodies(answer_event))
    ack = client.call(event, *payload)
    assert client.wait(answer_event, before + 1) == ack
    return ack


def refused(client: Client, event: str, *payload: Any) -> tuple[str, dict[str, Any]]:
    """Return code and details of the error, which is sent as event and as ack."""
    body = answers(client, event, "error", *payload)
    assert set(body) == {"code", "message", "event", "details"}
    assert body["event"] == event[:64]
    assert "Traceback" not in str(body)
    return body["code"], body["details"]


def test_every_event_is_answered_as_event_and_as_ack(client: Client, bus: Bus) -> None:
    hello = client.wait("connection_established")
    assert set(hello) >= {"client_id", "message", "server_time", "available_pairs", "ping_interval", "ping_timeout"}
    assert {"EUR_USD", "BTCUSDT", "AAPL"} <= set(hello["available_pairs"])
    assert (len(hello["available_pairs"]), hello["ping_interval"], hello["ping_timeout"]) == (31, 25, 5)

    body = answers(client, "subscribe", "subscription_confirmed", {"pairs": ["EUR_USD", "NOPE", "GBP_USD", 7, "EUR_USD"]})
    assert body["pairs"] == body["added"] == ["EUR_USD", "GBP_USD"] or set(body["pairs"]) == {"EUR_USD", "GBP_USD"}
    assert [(item["pair"], item["code"]) for item in body["rejected"]] == [("NOPE", "unknown_instrument"), (7, "invalid_payload")]
    assert (body["pair_count"], body["snapshot"], body["recovered"], body["max_rate"]) == (2, {}, {}, None)
    assert answers(client, "subscribe", "subscription_confirmed", {"pairs": "USD_JPY"})["added"] == ["USD_JPY"]
    assert answers(client, "get_subscriptions", "subscriptions_info")["pair_count"] == 3

    publish(bus, 3)
    client.wait("price_update", 3)
    assert client.seqs() == [1, 2, 3]
    update = client.bodies("price_update")[-1]
    assert list(update) == ["instrument", "price", "timestamp", "seq", "epoch"]
    assert list(update["price"]) == ["bid", "ask", "mid", "time"]
    assert answers(client, "request_price", "price_response", {"instrument": "EUR_USD"}) == update
    everything = answers(client, "request_all_prices", "all_prices_response")
    assert everything["prices"] == {"EUR_USD": update["price"]}
    assert everything["count"] == 1

    gone = answers(client, "unsubscribe", "unsubscription_confirmed", {"pairs": ["EUR_USD", "AUD_USD"]})
    assert gone["removed"] == ["EUR_USD"]
    assert set(gone["pairs"]) == {"GBP_USD", "USD_JPY"}
    assert answers(client, "subscribe", "subscription_confirmed", {"pairs": "all"})["pair_count"] == 31
    assert answers(client, "unsubscribe", "unsubscription_confirmed", {"pairs": "all"})["pairs"] == []

    assert answers(client, "ping", "pong", {"timestamp": 1234.5})["timestamp"] == 1234.5
    assert set(answers(client, "ping", "pong")) == {"timestamp", "server_time"}
    stats = answers(client, "get_server_stats", "server_stats")
    assert set(stats) >= {
        "connected_clients", "total_connections", "total_subscriptions", "subscriptions_by_pair", "messages_relayed",
        "messages_delivered", "slow_clients", "uptime_seconds", "memory_usage_mb", "redis_connected", "last_message_age_seconds",
        "timestamp",
    }  # fmt: skip
    assert (stats["connected_clients"], stats["messages_relayed"], stats["messages_delivered"], stats["redis_connected"]) == (1, 3, 3, True)


def test_greeting_is_the_first_message_of_a_connection(shared_client: Client) -> None:
    client = shared_client
    client.wait("connect")
    assert {name for name, _ in client.received[:2]} == {"connect", "connection_established"}
    if isinstance(client, NodeClient):  # socket.io-client drops messages that precede its CONNECT packet
        assert [name for name, _ in client.received[:2]] == ["connect", "connection_established"]


def test_invalid_request_is_refused_with_code_and_field(shared_client: Client) -> None:
    client = shared_client
    assert refused(client, "subscribe") == ("invalid_payload", {"pairs": ["Missing data for required field."]})
    assert set(refused(client, "subscribe", {"pairs": []})[1]) == {"pairs"}
    assert set(refused(client, "subscribe", {"pairs": {"a": 1}})[1]) == {"pairs"}
    assert set(refused(client, "subscribe", {"pairs": ["EUR_USD"] * 1001})[1]) == {"pairs"}
    for rate in (0, 0.01, 51, "fast", True and [5]):
        assert set(refused(client, "subscribe", {"pairs": "all", "max_rate": rate})[1]) == {"max_rate"}
    for since in (
        5,
        {"EUR_USD": 5},
        {"EUR_USD": {"epoch": "x"}},
        {"EUR_USD": {"epoch": 1, "seq": "a"}},
        {"EUR_USD": {"epoch": "x", "seq": -1}},
    ):
        assert set(refused(client, "subscribe", {"pairs": "all", "since": since})[1]) == {"since"}
    assert refused(client, "subscribe", "EUR_USD")[0] == "invalid_payload"
    assert refused(client, "subscribe", [1, 2])[0] == "invalid_payload"
    assert refused(client, "unsubscribe", {}) == ("invalid_payload", {"pairs": ["Missing data for required field."]})
    assert set(refused(client, "request_price", {})[1]) == {"instrument"}
    assert set(refused(client, "request_price", {"instrument": 5})[1]) == {"instrument"}
    assert refused(client, "request_price", {"instrument": "XXX_YYY"})[0] == "unknown_instrument"
    assert refused(client, "request_price", {"instrument": UNPRICED})[0] == "no_price"
    assert refused(client, "ping", 5)[0] == "invalid_payload"
    for name in ("no_such_event", "*", "x" * 500):
        assert refused(client, name, {"a": 1})[0] == "invalid_payload"
    assert answers(client, "get_subscriptions", "subscriptions_info")["pairs"] == []  # no refused request had an effect


def test_alert_is_broadcast_to_its_rooms_once_and_data_ready_to_all(shared_client: Client, shared_hub: Web, shared_bus: Bus) -> None:
    client, bus = shared_client, shared_bus
    with PythonClient(shared_hub.url) as outsider:
        client.call("subscribe", {"pairs": ["EUR_USD", "GBP_USD"]})
        outsider.call("subscribe", {"pairs": ["USD_JPY"]})
        bus.publish_volatility_alert("EUR_USD", 0.03, threshold=0.02, severity="warning")
        bus.publish_correlation_alert("EUR_USD", "GBP_USD", 0.1, previous=0.9, threshold=0.2, severity="critical")
        bus.publish_data_ready("volatility", ["EUR_USD"], datetime(2025, 1, 1, tzinfo=UTC))
        for each in (client, outsider):
            assert each.wait("data_ready")["data_type"] == "volatility"
        assert client.wait("volatility_alert")["severity"] == "warning"
        assert client.wait("correlation_alert")["change"] == pytest.approx(-0.8)
        assert len(client.bodies("correlation_alert")) == len(client.bodies("volatility_alert")) == 1
        assert outsider.bodies("correlation_alert") == outsider.bodies("volatility_alert") == []


def test_subscribe_since_a_position_delivers_exactly_the_missed_prices(shared_client: Client, shared_bus: Bus) -> None:
    client, bus = shared_client, shared_bus
    body = arrived(client, publish(bus, 10))
    assert body["seq"] == 10
    answer = client.call("subscribe", {"pairs": ["EUR_USD", UNPRICED], "since": {"EUR_USD": {"epoch": body["epoch"], "seq": 4}}})
    assert answer["recovered"] == {"EUR_USD": True}
    assert answer["snapshot"] == {"EUR_USD": body}
    publish(bus, 2)
    client.wait("price_update", 8)
    assert client.seqs() == [5, 6, 7, 8, 9, 10, 11, 12]
    names = [name for name, _ in client.received]
    assert names.index("subscription_confirmed") < names.index("price_update")


@pytest.mark.parametrize(
    ("since", "recovered"),
    [
        ({"seq": 10}, True),
        ({"seq": 11}, False),  # not published yet
        ({"seq": 3, "epoch": "another"}, False),
        ({"seq": 0}, True),
    ],
)
def test_recovered_is_true_only_if_the_log_has_all_missed_prices(
    shared_hub: Web, shared_bus: Bus, since: dict[str, Any], recovered: bool
) -> None:
    last = publish(shared_bus, 10)
    with PythonClient(shared_hub.url) as client:
        epoch = arrived(client, last)["epoch"]
        answer = client.call("subscribe", {"pairs": "EUR_USD", "since": {"EUR_USD": {"epoch": epoch, **since}}})
        assert answer["recovered"] == {"EUR_USD": recovered}
        assert answer["snapshot"]["EUR_USD"]["seq"] == 10


def test_position_older_than_the_log_is_not_recovered(shared_hub: Web, shared_bus: Bus) -> None:
    with PythonClient(shared_hub.url) as client:
        last = publish(shared_bus, 1001)
        assert last.seq == 1001
        epoch = arrived(client, last)["epoch"]
        for seq, recovered in ((0, False), (1, True)):
            answer = client.call("subscribe", {"pairs": "EUR_USD", "since": {"EUR_USD": {"epoch": epoch, "seq": seq}}})
            assert answer["recovered"] == {"EUR_USD": recovered}
            client.call("unsubscribe", {"pairs": "all"})
        client.wait("price_update", 1000)
        assert client.seqs() == list(range(2, 1002))


def test_live_prices_continue_the_snapshot_without_gap_or_repetition(shared_hub: Web, shared_bus: Bus) -> None:
    """Five clients subscribe four times: each gets snapshot + 1, snapshot + 2, …

    No other test of the shared hub publishes the instrument, so each snapshot is of this epoch.
    """
    pair = "AUD_USD"
    with ExitStack() as stack:
        clients = [stack.enter_context(PythonClient(shared_hub.url)) for _ in range(5)]
        for turn in range(4):
            publish(shared_bus, 20, pair)
            for client in clients:
                client.emit("subscribe", {"pairs": pair})
                publish(shared_bus, 5, pair)
                client.wait("subscription_confirmed", turn + 1)
                client.emit("unsubscribe", {"pairs": pair})
                client.wait("unsubscription_confirmed", turn + 1)
        for client in clients:
            expected = 0
            for event, body in list(client.received):
                if event == "subscription_confirmed":
                    expected = body["snapshot"].get(pair, {"seq": 0})["seq"] + 1  # without a price in the hub, the first one follows
                elif event == "price_update":
                    assert body["seq"] == expected
                    expected += 1


def test_broadcast_has_the_bytes_of_the_redis_message(shared_hub: Web, shared_redis: redis_client.Redis) -> None:
    odd = b'{"instrument" : "EUR_USD",'
    odd += b' "price":{"bid":"1.0945","ask":"1.0947","mid":"1.0946","time":"2025-11-18T12:30:00Z","x":1e2},\n"y":"\\u00e9"}'
    with PythonClient(shared_hub.url, ["polling"]) as client:
        client.call("subscribe", {"pairs": "EUR_USD"})
        frames: list[str] = []
        receive = client._client.eio.handlers["message"]

        def spy(data: str) -> None:
            frames.append(data)
            receive(data)

        client._client.eio.on("message", spy)
        shared_redis.publish("price_updates", odd)
        client.wait("price_update")
        assert '2["price_update",' + odd.decode() + "]" in frames


def test_foreign_price_is_relayed_and_becomes_the_latest(shared_client: Client, shared_redis: redis_client.Redis, shared_bus: Bus) -> None:
    client, bus = shared_client, shared_bus
    publish(bus, 2)
    client.call("subscribe", {"pairs": "EUR_USD"})
    foreign = {"instrument": "EUR_USD", "price": {"bid": "1.0945", "ask": "1.0947", "mid": "1.0946", "time": "2025-11-18T12:30:00Z"}}
    shared_redis.publish("price_updates", orjson.dumps(foreign))
    client.wait("price_update", where=lambda body: "seq" not in body)
    assert client.call("request_price", {"instrument": "EUR_USD"}) == foreign
    publish(bus, 1)
    client.wait("price_update", where=lambda body: body.get("seq") == 3)


GARBAGE = {
    "not_json": [b"", b"hello", b"{", b"\xff\xfe", b'{"a":NaN}', b"[" * 100_000, b'{"instrument":' * 5000],
    "not_an_object": [b"[]", b"5", b'"x"', b"null"],
    "too_large": [b'{"instrument":"EUR_USD","x":"' + b"x" * 1_000_000 + b'"}'],
    "schema": [
        b"{}",
        b'{"instrument":5}',
        b'{"instrument":"EUR_USD","price":5}',
        b'{"instrument":"EUR_USD","price":{"bid":1.5,"ask":"1","mid":"1","time":"2025-11-18T12:30:00Z"}}',
        b'{"instrument":"EUR_USD","price":{"bid":"-1","ask":"1","mid":"1","time":"2025-11-18T12:30:00Z"}}',
        b'{"instrument":"EUR_USD","price":{"bid":"1","ask":"1","mid":"1","time":"yesterday"}}',
        b'{"instrument":"EUR_USD","price":{"bid":"1","ask":"1","mid":"1","time":"2025-11-18T12:30:00Z"},"seq":5}',
    ],
    "unknown_instrument": [b'{"instrument":"XXX_YYY","price":{"bid":"1","ask":"1","mid":"1","time":"2025-11-18T12:30:00Z"}}'],
    "unknown_sequence": [
        b'{"instrument":"EUR_USD","price":{"bid":"1","ask":"1","mid":"1","time":"2025-11-18T12:30:00Z"},"seq":900,"epoch":"forged"}',
        b'{"instrument":"GBP_USD","price":{"bid":"1","ask":"1","mid":"1","time":"2025-11-18T12:30:00Z"},"seq":1,"epoch":"forged"}',
    ],
}


def test_bad_messages_on_every_channel_are_skipped_and_counted(hub: Web, raw_redis: redis_client.Redis, bus: Bus) -> None:
    with PythonClient(hub.url) as client:
        client.call("subscribe", {"pairs": "all"})
        publish(bus, 1)
        for channel in ("price_updates", "volatility_alerts", "correlation_alerts", "data_ready"):
            for kind in GARBAGE.values():
                for message in kind:
                    raw_redis.publish(channel, message)
        publish(bus, 1)
        client.wait("price_update", 2)
        assert client.seqs() == [1, 2]
        stats = client.stats()
        assert all(stats["messages_skipped"][kind] >= len(messages) for kind, messages in GARBAGE.items())
    logged = [line for line in hub.output().splitlines() if "skipped a bad message" in line]
    assert len(logged) == len(GARBAGE)  # once per kind
    assert "Traceback" not in hub.output()


def test_client_above_the_limit_is_refused_until_another_one_leaves(hub: Web) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(PythonClient(hub.url)) for _ in range(5)]
        for transports in (["websocket"], ["polling"]):
            with NodeClient(hub.url, transports, reconnection=False) as late:
                error = late.wait("connect_error")
                assert error["message"] == error["data"]["code"] == "server_full"
                details = error["data"]["details"]
                assert (set(details), details["max_clients"]) == ({"max_clients", "retry_after"}, 5)
                assert 5 <= details["retry_after"] <= 15
        late_python = PythonClient(hub.url)
        with pytest.raises(socketio.exceptions.ConnectionError):
            late_python.connect()
        assert late_python.wait("connect_error")["message"] == "server_full"
        clients[0]._client.disconnect()
        until(lambda: clients[1].stats()["connected_clients"] == 4)
        stack.enter_context(PythonClient(hub.url))


def test_flood_of_one_client_is_refused_and_another_is_served(shared_hub: Web) -> None:
    with PythonClient(shared_hub.url) as flooder, PythonClient(shared_hub.url) as other:
        for _ in range(1000):
            flooder.emit("ping")
        assert flooder.wait("error")["code"] == "too_many_requests"
        assert other.call("ping", {"timestamp": 1})["timestamp"] == 1


def test_connection_from_a_foreign_origin_is_refused(shared_hub: Web) -> None:
    for origin, welcome in (
        (shared_hub.url, True),
        ("http://localhost:5000", True),
        ("http://127.0.0.1:5000", True),
        ("https://evil.example", False),
    ):
        client = socketio.Client(reconnection=False)
        try:
            client.connect(shared_hub.url, headers={"Origin": origin}, transports=["polling"])
            assert welcome
        except socketio.exceptions.ConnectionError:
            assert not welcome
        finally:
            client.disconnect()


def test_stopping_hub_sends_retry_after_and_clients_reconnect(settings: Settings, bus: Bus, tmp_path: Path) -> None:
    with Web("hub", settings, tmp_path / "hub.log") as hub, ExitStack() as stack:
        clients = {kind: stack.enter_context(reconnecting(kind, hub.url)) for kind in CLIENTS}
        for client in clients.values():
            client.wait("connection_established")
        assert hub.ask_to_stop() == 0
        for kind, client in clients.items():
            error = client.wait("error")
            assert error["code"] == "unavailable", kind
            assert 0 < error["details"]["retry_after"] < 10, kind
            client.wait("disconnect")
        hub.start()
        for client in clients.values():
            client.wait("connection_established", 2)
            client.call("subscribe", {"pairs": "EUR_USD"})
        publish(bus, 1)
        for client in clients.values():
            client.wait("price_update")


def reconnecting(kind: str, url: str) -> Client:
    """Return a client of this kind that connects again by itself."""
    transports = {"websocket": ["websocket"], "polling": ["polling"], "upgrade": ["polling", "websocket"]}[kind.split("-")[1]]
    return PythonClient(url, transports, reconnection=True) if kind.startswith("python") else NodeClient(url, transports)


def test_missed_prices_beyond_the_replay_limit_are_not_recovered(settings: Settings, bus: Bus, tmp_path: Path) -> None:
    """The outbox is smaller than the missed prices, which do not count towards its limit."""
    with Web("hub", settings, tmp_path / "hub.log", REPLAY_LIMIT_BYTES="65536", OUTBOX_LIMIT_BYTES="16384") as hub:
        moment = "2025-11-18T12:30:00.000000Z"
        ticks = [Tick(pair, "1.0945", "1.0947", "1.0946", moment, "test") for _ in range(200) for pair in ("EUR_USD", "GBP_USD")]
        stamps = bus.publish_prices(ticks)
        since = {pair: {"epoch": stamps[0].epoch, "seq": 1} for pair in ("EUR_USD", "GBP_USD")}
        for transports in (["websocket"], ["polling"]):
            with PythonClient(hub.url, transports) as client:
                until(lambda: client.call("request_price", {"instrument": "GBP_USD"}).get("seq") == 200)
                answer = client.call("subscribe", {"pairs": ["EUR_USD", "GBP_USD"], "since": since})
                assert answer["recovered"] == {"EUR_USD": True, "GBP_USD": False}
                client.wait("price_update", 199)
                assert client.seqs("EUR_USD") == list(range(2, 201))
                assert client.seqs("GBP_USD") == []
