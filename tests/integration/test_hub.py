"""The hub as a process, through stock clients: every event of the contract, both answers, both transports."""

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
from db.messages import Tick
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
TIME = "2025-11-18T12:30:00.000000Z"


@pytest.fixture
def hub(settings: Settings, bus: Bus, tmp_path: Path) -> Iterator[Web]:
    with Web("hub", settings, tmp_path / "hub.log", WEBSOCKET_MAX_CLIENTS="5") as process:
        yield process


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, hub: Web) -> Iterator[Client]:
    with CLIENTS[request.param](hub.url) as client:
        client.wait("connection_established")
        yield client


def publish(bus: Bus, count: int = 1, instrument: str = "EUR_USD") -> list[int]:
    """Publish prices whose bid tells them apart; their seqs."""
    return [
        bus.cache_price(instrument, bid=f"1.{number:05}", ask="2.5", mid="2", time=datetime(2025, 11, 18, tzinfo=UTC)).seq
        for number in range(count)
    ]


def answers(client: Client, event: str, answer_event: str, *payload: Any) -> Any:
    """The ack's body, after checking that the event came too, with the same body."""
    before = len(client.bodies(answer_event))
    ack = client.call(event, *payload)
    assert client.wait(answer_event, before + 1) == ack
    return ack


def refused(client: Client, event: str, *payload: Any) -> tuple[str, dict[str, Any]]:
    """Code and details of the error, which comes as event and as ack."""
    body = answers(client, event, "error", *payload)
    assert set(body) == {"code", "message", "event", "details"}
    assert body["event"] == event[:64]
    assert "Traceback" not in str(body)
    return body["code"], body["details"]


def test_every_event_has_its_two_answers(client: Client, bus: Bus) -> None:
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


def test_the_greeting_is_the_first_thing_a_client_hears(client: Client) -> None:
    client.wait("connect")
    assert {name for name, _ in client.received[:2]} == {"connect", "connection_established"}
    if isinstance(client, NodeClient):  # which drops what comes before its CONNECT packet
        assert [name for name, _ in client.received[:2]] == ["connect", "connection_established"]


def test_bad_input_gets_a_code_and_the_field_s_name(client: Client) -> None:
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
    assert refused(client, "request_price", {"instrument": "EUR_USD"})[0] == "no_price"
    assert refused(client, "ping", 5)[0] == "invalid_payload"
    for name in ("no_such_event", "*", "x" * 500):
        assert refused(client, name, {"a": 1})[0] == "invalid_payload"
    assert answers(client, "get_subscriptions", "subscriptions_info")["pairs"] == []  # nothing bad had an effect


def test_alerts_go_to_their_rooms_once_and_data_ready_to_everyone(client: Client, hub: Web, bus: Bus) -> None:
    with PythonClient(hub.url) as outsider:
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


def test_a_client_that_was_away_gets_exactly_what_it_missed(client: Client, bus: Bus) -> None:
    publish(bus, 10)
    body = until(lambda: (got := client.call("request_price", {"instrument": "EUR_USD"})).get("seq") == 10 and got, what="the tenth price")
    assert isinstance(body, dict)
    answer = client.call("subscribe", {"pairs": ["EUR_USD", "GBP_USD"], "since": {"EUR_USD": {"epoch": body["epoch"], "seq": 4}}})
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
        ({"seq": 11}, False),  # from a future this hub knows nothing of
        ({"seq": 3, "epoch": "another"}, False),
        ({"seq": 0}, True),
    ],
)
def test_what_cannot_be_told_for_certain_is_not_claimed(hub: Web, bus: Bus, since: dict[str, Any], recovered: bool) -> None:
    publish(bus, 10)
    with PythonClient(hub.url) as client:
        until(lambda: client.call("request_price", {"instrument": "EUR_USD"}).get("seq") == 10)
        epoch = client.call("request_price", {"instrument": "EUR_USD"})["epoch"]
        answer = client.call("subscribe", {"pairs": "EUR_USD", "since": {"EUR_USD": {"epoch": epoch, **since}}})
        assert answer["recovered"] == {"EUR_USD": recovered}
        assert answer["snapshot"]["EUR_USD"]["seq"] == 10


def test_more_was_missed_than_the_hub_keeps(hub: Web, bus: Bus) -> None:
    with PythonClient(hub.url) as client:
        publish(bus, 1001)
        until(lambda: client.call("request_price", {"instrument": "EUR_USD"}).get("seq") == 1001)
        epoch = client.call("request_price", {"instrument": "EUR_USD"})["epoch"]
        for seq, recovered in ((0, False), (1, True)):
            answer = client.call("subscribe", {"pairs": "EUR_USD", "since": {"EUR_USD": {"epoch": epoch, "seq": seq}}})
            assert answer["recovered"] == {"EUR_USD": recovered}
            client.call("unsubscribe", {"pairs": "all"})
        client.wait("price_update", 1000)
        assert client.seqs() == list(range(2, 1002))


def test_snapshot_and_live_join_without_hole_or_double(hub: Web, bus: Bus) -> None:
    """Twenty clients come one after the other while prices flow: each sees snapshot + 1, snapshot + 2, …"""
    with ExitStack() as stack:
        clients = [stack.enter_context(PythonClient(hub.url)) for _ in range(5)]
        for turn in range(4):
            publish(bus, 20)
            for client in clients:
                client.emit("subscribe", {"pairs": "EUR_USD"})
                publish(bus, 5)
                client.wait("subscription_confirmed", turn + 1)
                client.emit("unsubscribe", {"pairs": "EUR_USD"})
                client.wait("unsubscription_confirmed", turn + 1)
        for client in clients:
            expected = 0
            for event, body in list(client.received):
                if event == "subscription_confirmed":
                    expected = body["snapshot"]["EUR_USD"]["seq"] + 1
                elif event == "price_update":
                    assert body["seq"] == expected
                    expected += 1


def test_a_broadcast_is_the_bytes_that_redis_delivered(hub: Web, raw_redis: redis_client.Redis) -> None:
    odd = b'{"instrument" : "EUR_USD",'
    odd += b' "price":{"bid":"1.0945","ask":"1.0947","mid":"1.0946","time":"2025-11-18T12:30:00Z","x":1e2},\n"y":"\\u00e9"}'
    with PythonClient(hub.url, ["polling"]) as client:
        client.call("subscribe", {"pairs": "EUR_USD"})
        frames: list[str] = []
        receive = client._client.eio.handlers["message"]

        def spy(data: str) -> None:
            frames.append(data)
            receive(data)

        client._client.eio.on("message", spy)
        raw_redis.publish("price_updates", odd)
        client.wait("price_update")
        assert '2["price_update",' + odd.decode() + "]" in frames


def test_a_foreign_price_is_relayed_and_is_the_latest(client: Client, raw_redis: redis_client.Redis, bus: Bus) -> None:
    publish(bus, 2)
    client.call("subscribe", {"pairs": "EUR_USD"})
    foreign = {"instrument": "EUR_USD", "price": {"bid": "1.0945", "ask": "1.0947", "mid": "1.0946", "time": "2025-11-18T12:30:00Z"}}
    raw_redis.publish("price_updates", orjson.dumps(foreign))
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


def test_garbage_on_every_channel_stops_nothing(hub: Web, raw_redis: redis_client.Redis, bus: Bus) -> None:
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
        stats = client.call("get_server_stats")
        assert all(stats["messages_skipped"][kind] >= len(messages) for kind, messages in GARBAGE.items())
    logged = [line for line in hub.output().splitlines() if "skipped a bad message" in line]
    assert len(logged) == len(GARBAGE)  # once per kind
    assert "Traceback" not in hub.output()


def test_the_next_client_too_many_is_refused_and_place_is_made_again(hub: Web) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(PythonClient(hub.url)) for _ in range(5)]
        for transports in (["websocket"], ["polling"]):
            with NodeClient(hub.url, transports, reconnection=False) as late:
                error = late.wait("connect_error")
                assert error["message"] == error["data"]["code"] == "server_full"
                assert error["data"]["details"] == {"max_clients": 5}
        late_python = PythonClient(hub.url)
        with pytest.raises(socketio.exceptions.ConnectionError):
            late_python.connect()
        assert late_python.wait("connect_error")["message"] == "server_full"
        clients[0]._client.disconnect()
        until(lambda: clients[1].call("get_server_stats")["connected_clients"] == 4)
        stack.enter_context(PythonClient(hub.url))


def test_a_flood_from_one_client_is_refused_and_bothers_nobody(hub: Web) -> None:
    with PythonClient(hub.url) as flooder, PythonClient(hub.url) as other:
        for _ in range(1000):
            flooder.emit("ping")
        assert flooder.wait("error")["code"] == "too_many_requests"
        assert other.call("ping", {"timestamp": 1})["timestamp"] == 1


def test_pages_of_other_sites_may_not_connect(hub: Web) -> None:
    for origin, welcome in (
        (hub.url, True),
        ("http://localhost:5000", True),
        ("http://127.0.0.1:5000", True),
        ("https://evil.example", False),
    ):
        client = socketio.Client(reconnection=False)
        try:
            client.connect(hub.url, headers={"Origin": origin}, transports=["polling"])
            assert welcome
        except socketio.exceptions.ConnectionError:
            assert not welcome
        finally:
            client.disconnect()


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_stopping_hub_says_when_to_come_back_and_clients_come_back(kind: str, hub: Web, bus: Bus) -> None:
    transports = {"websocket": ["websocket"], "polling": ["polling"], "upgrade": ["polling", "websocket"]}[kind.split("-")[1]]
    client: Client
    client = PythonClient(hub.url, transports, reconnection=True) if kind.startswith("python") else NodeClient(hub.url, transports)
    with client:
        client.wait("connection_established")
        assert hub.ask_to_stop() == 0
        error = client.wait("error")
        assert error["code"] == "unavailable"
        assert 0 < error["details"]["retry_after"] < 10
        client.wait("disconnect")
        hub.start()
        client.wait("connection_established", 2)
        publish(bus, 1)
        client.call("subscribe", {"pairs": "EUR_USD"})
        publish(bus, 1)
        client.wait("price_update")


def test_more_than_an_outbox_holds_is_not_promised(settings: Settings, bus: Bus, tmp_path: Path) -> None:
    with Web("hub", settings, tmp_path / "hub.log", OUTBOX_LIMIT_BYTES="65536") as hub:
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
