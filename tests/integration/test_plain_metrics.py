"""`/ws/metrics` on a real hub: handshakes, frames, heartbeats and limits, without credentials."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import redis as redis_client

from db import topics
from db.bus import Bus
from db.bus.observability.snapshots import Snapshot
from tests.conformance.http_client import Server
from tests.conformance.websocket_client import PING, PONG, TEXT, Closed, Refused, frame
from tests.support.observability_events import alert_event, event_body
from tests.support.plain import ROUTE, Plain, snapshot
from tests.support.processes import Web
from tests.support.raw_http import exchange, request

ALL = ["market_data", "strategy", "execution", "system"]
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")


@pytest.fixture
def plain(shared_hub: Web) -> Iterator[Plain]:
    """A client that has received `connected`."""
    with Plain(shared_hub.port) as client:
        assert client.body()["type"] == "connected"
        yield client


def test_first_frame_is_connected(shared_hub: Web) -> None:
    with Plain(shared_hub.port, "channels=system,strategy&max_rate=3&heartbeat=text") as client:
        body = client.body()
    assert isinstance(body.pop("server_time"), float)
    assert len(body.pop("client_id")) == 36
    assert body == {"type": "connected", "update_frequency_hz": 10, "channels": ["strategy", "system"], "max_rate": 2.0}


def refusal(hub: Web, query: str = "", **headers: str) -> tuple[int, str]:
    """Return status and code of a refused handshake."""
    with pytest.raises(Refused) as caught, Plain(hub.port, query, headers):
        pass
    answer = caught.value.answer
    error = json.loads(answer.body)["error"]
    assert set(error) == {"code", "message", "details"}
    return answer.status, error["code"]


@pytest.mark.parametrize(
    "query",
    [
        "channels=",
        "channels=prices",
        "channels=system,",
        "channels=alerts",
        "channels=system&channels=strategy",
        "max_rate=",
        "max_rate=0",
        "max_rate=-1",
        "max_rate=nan",
        "max_rate=inf",
        "max_rate=1e0",
        "max_rate=0.05",
        "max_rate=11",
        "max_rate=1.2.3",
        "heartbeat=",
        "heartbeat=json",
        "since=1",
        "token=abc",
        "api_key=abc",
        "%74oken=abc",
    ],
)
def test_bad_query_is_400(shared_hub: Web, query: str) -> None:
    assert refusal(shared_hub, query) == (400, "invalid_payload")


@pytest.mark.parametrize(("asked", "granted"), [("0.1", 0.1), ("0.19", 0.1), ("0.5", 0.5), ("4.9", 2), ("5", 5), ("9.9", 5), ("10", 10)])
def test_max_rate_is_the_next_lower_value(shared_hub: Web, asked: str, granted: float) -> None:
    with Plain(shared_hub.port, f"max_rate={asked}") as client:
        assert client.body()["max_rate"] == granted


@pytest.mark.parametrize("lines", [(), UPGRADE[:1], UPGRADE[1:2], ("Connection: close",)])
def test_request_without_an_upgrade_is_426(shared_hub: Web, lines: tuple[str, ...]) -> None:
    answer = exchange(shared_hub.port, request(ROUTE, *lines))
    assert (answer.status, answer.code, answer.headers["upgrade"]) == (426, "invalid_payload", "websocket")
    assert exchange(shared_hub.port, request(ROUTE, *UPGRADE, method="POST")).status == 426


def test_other_version_is_426_and_a_bad_key_is_400(shared_hub: Web) -> None:
    answer = exchange(shared_hub.port, request(ROUTE, *UPGRADE[:2], "Sec-WebSocket-Version: 8", UPGRADE[3]))
    assert (answer.status, answer.headers["sec-websocket-version"]) == (426, "13")
    answer = exchange(shared_hub.port, request(ROUTE, *UPGRADE[:3], "Sec-WebSocket-Key: short"))
    assert (answer.status, answer.code) == (400, "invalid_payload")


def test_foreign_origin_and_foreign_host_are_403(shared_hub: Web) -> None:
    assert refusal(shared_hub, Origin="https://evil.example") == (403, "forbidden")
    for origin in (shared_hub.url, "http://localhost:3000"):
        with Plain(shared_hub.port, headers={"Origin": origin}) as client:
            assert client.body()["type"] == "connected"
    answer = exchange(shared_hub.port, request(ROUTE, *UPGRADE, host="evil.example"))
    assert (answer.status, answer.code) == (403, "forbidden")
    assert exchange(shared_hub.port, request(ROUTE, "Origin: http://localhost", method="OPTIONS")).status == 204


def test_ping_is_text_and_health_is_json(plain: Plain) -> None:
    plain.send("ping")
    assert plain.receive() == "pong"
    body = plain.ask({"type": "health"})
    assert isinstance(body.pop("timestamp"), float)
    assert body == {"type": "health", "data": {"pong": True}}
    plain.send_bytes(frame(PING, b"abc"))
    plain.send("ping")
    assert plain.receive() == "pong"
    assert plain.pongs == [b"abc"]


def test_first_subscription_replaces_the_default_and_later_ones_add(plain: Plain) -> None:
    assert plain.ask("subscribe:alerts")["channels"] == [*ALL, "alerts"]
    answer = plain.ask("subscribe:strategy")
    assert isinstance(answer.pop("timestamp"), float)
    assert answer == {"type": "subscribed", "channels": ["strategy", "alerts"]}
    assert plain.ask("subscribe:market_data,trades")["channels"] == ["market_data", "strategy", "alerts", "trades"]
    answer = plain.ask("unsubscribe:strategy")
    assert (answer["type"], answer["channels"]) == ("unsubscribed", ["market_data", "alerts", "trades"])
    assert plain.ask("unsubscribe:system")["channels"] == ["market_data", "alerts", "trades"]
    assert plain.ask("unsubscribe:market_data,alerts,trades")["channels"] == []
    assert plain.ask("subscribe:system")["channels"] == ["system"]


def test_unsubscribe_of_the_default_leaves_the_rest(shared_hub: Web) -> None:
    with Plain(shared_hub.port) as client:
        assert client.ask("unsubscribe:system")["type"] == "connected"
        assert client.body()["channels"] == ALL[:3]
        assert client.ask("subscribe:system")["channels"] == ALL


def test_subscription_adds_to_the_channels_of_the_query(shared_hub: Web) -> None:
    with Plain(shared_hub.port, "channels=system") as client:
        assert client.body()["channels"] == ["system"]
        assert client.ask("subscribe:strategy")["channels"] == ["strategy", "system"]


@pytest.mark.parametrize(
    "text",
    ["", "pong", "Ping", "hello", "{", "[]", "null", '{"type":"subscribe"}', '{"type":1}', "{}", "subscribe:", "subscribe:prices",
     "subscribe", "unsubscribe:market_data,x", "auth", '{"type":"health"', "[" * 5000, "subscribe:\U0001f600"],
)  # fmt: skip
def test_invalid_frame_is_an_error_and_the_connection_stays(plain: Plain, text: str) -> None:
    assert plain.code(text) == "invalid_payload"
    assert plain.ask({"type": "health"})["type"] == "health"


def test_binary_frame_is_an_error(plain: Plain) -> None:
    plain.send_binary(b"ping")
    assert plain.body()["error"]["code"] == "invalid_payload"


def test_message_above_64_kib_closes_with_1009(plain: Plain) -> None:
    plain.send("x" * 65536)
    assert plain.body()["error"]["code"] == "invalid_payload"
    plain.send("x" * 65537)
    assert plain.closed() == 1009


def test_client_that_closes_receives_its_code(plain: Plain) -> None:
    plain.end()


def test_bad_credential_of_an_optional_hub_is_401(shared_hub: Web) -> None:
    assert refusal(shared_hub, **{"X-API-Key": "short"}) == (401, "unauthorized")
    assert refusal(shared_hub, Authorization="Bearer a.b.c") == (401, "unauthorized")


def test_frames_at_an_empty_bucket_are_refused_then_closed_with_4429(shared_hub: Web) -> None:
    with Plain(shared_hub.port) as client:
        assert client.body()["type"] == "connected"
        client.send(*["ping"] * 200, *["health"] * 200)  # 50 tokens come back per second
        received = [str(client.receive()) for _ in range(400)]
        assert received[:150] == ["pong"] * 150
        refused = [json.loads(text)["error"] for text in received if text != "pong"]
        assert "too_many_requests" in {error["code"] for error in refused}
        assert all(error["details"]["retry_after"] >= 1 for error in refused if error["code"] == "too_many_requests")
        assert flood(client) == 4429


def flood(client: Plain) -> int | None:
    """Send frames until the server closes; return the code."""
    try:
        while True:
            client.send(*["ping"] * 20)
            with suppress(TimeoutError):
                client.receive(0.02)
    except Closed as closed:
        return closed.code
    except OSError:
        return client.closed_with(5)


def test_pongs_cost_tokens_too(plain: Plain) -> None:
    plain.send_bytes(frame(PONG, b"") * 200 + frame(TEXT, b"ping") * 200)
    answers = [plain.receive() for _ in range(200)]
    assert [json.loads(text)["error"]["code"] for text in answers if text != "pong"].count("too_many_requests") >= 5


def test_connection_without_bytes_ends_when_the_client_goes(shared_hub: Web) -> None:
    client = Plain(shared_hub.port)
    client._sock.shutdown(socket.SHUT_WR)
    assert client.closed_with(10) is None
    assert Server("127.0.0.1", shared_hub.port).request("GET", "/hub/health").status == 200


# snapshots

Publish = Callable[..., Snapshot]


@pytest.fixture
def published(shared_bus: Bus) -> Publish:
    """Publish a snapshot with this `seq`."""

    def publish(seq: int, padding: int = 0) -> Snapshot:
        made = snapshot(seq, padding=padding)
        shared_bus.publish_snapshot(made)
        return made

    return publish


def test_newest_snapshot_follows_connected_at_once_then_each_new_one(plain: Plain, shared_hub: Web, published: Publish) -> None:
    published(1)
    text = plain.receive()
    assert isinstance(text, str)
    assert text.startswith('{"type":"metrics_update","timestamp":1763469296.789123,"server_time":')
    assert '"last_price":1.09450}' in text, "the digits of the bus"
    first = json.loads(text)
    assert (first["seq"], first["epoch"], first["system"]) == (1, "e1", {"seq": 1})
    assert list(first) == ["type", "timestamp", "server_time", "seq", "epoch", *ALL]
    with Plain(shared_hub.port, "channels=system") as late:
        assert [late.body()["type"] for _ in range(1)] == ["connected"]
        assert late.body() == {name: first[name] for name in ("type", "timestamp", "server_time", "seq", "epoch", "system")}
        published(2)
        assert (late.body()["seq"], plain.body()["seq"]) == (2, 2)


def test_client_receives_the_sections_that_it_holds(plain: Plain, published: Publish) -> None:
    plain.ask("subscribe:strategy,system")
    published(11)
    assert [name for name in newest(plain, 11) if name in ALL] == ["strategy", "system"]
    plain.ask("unsubscribe:strategy,system")
    published(12)
    assert plain.ask({"type": "health"})["type"] == "health"
    plain.ask("subscribe:execution")
    published(13)
    assert [name for name in newest(plain, 13) if name in ALL] == ["execution"]


def newest(client: Plain, seq: int) -> dict[str, Any]:
    """Return the snapshot with this `seq`; earlier ones are skipped."""
    while (body := client.body()).get("seq") != seq:
        assert body["type"] == "metrics_update", body
    return body


def test_max_rate_skips_snapshots_and_ends_with_the_newest(shared_hub: Web, published: Publish) -> None:
    with Plain(shared_hub.port, "max_rate=5") as slow, Plain(shared_hub.port) as fast:
        assert (slow.body()["max_rate"], fast.body()["max_rate"]) == (5, None)
        began = time.monotonic()
        for seq in range(100, 160):
            published(seq)
        newest(fast, 159)
        seqs: list[int] = []
        while not seqs or seqs[-1] != 159:
            seqs.append(slow.body()["seq"])
        assert len(seqs) <= 2 + 5 * (time.monotonic() - began)
    assert seqs == sorted(seqs)


def test_body_that_is_no_snapshot_reaches_no_client(plain: Plain, shared_redis: redis_client.Redis, published: Publish) -> None:
    for body in (b"{}", b"[]", b"\xff", b'{"timestamp":"x","seq":1,"epoch":"e","numbers":{"system":"]"},"strings":{}}'):
        shared_redis.publish(topics.METRICS, body)
    published(21)
    newest(plain, 21)


def test_slow_client_receives_the_newest_snapshot_and_a_gap_notice(shared_hub: Web, published: Publish) -> None:
    with Plain(shared_hub.port) as slow, Plain(shared_hub.port) as watching:
        assert slow.body()["type"] == watching.body()["type"] == "connected"
        for seq in range(200, 400):
            published(seq, padding=100_000)
            newest(watching, seq)
        seqs, notice = [], None
        while notice is None:
            body = slow.body()
            if body["type"] == "gap_notice":
                notice = body
            else:
                seqs.append(body["seq"])
        assert notice == {"type": "gap_notice", "dropped": {"metrics": notice["dropped"]["metrics"]}, "reason": "slow_consumer"}
        assert seqs[-1] == 399
        assert len([seq for seq in seqs if seq >= 200]) + notice["dropped"]["metrics"] == 200


# notifications


def test_alert_and_trade_reach_clients_that_hold_the_topic(shared_hub: Web, shared_bus: Bus) -> None:
    alert = {"alert_id": "system:disk:critical:1", "severity": "critical", "message": "Disk", "acknowledged_at": None, "state": "firing"}
    trade = {
        "trade_id": "mm-1:f-17",
        "symbol": "EUR_USD",
        "side": "buy",
        "quantity": "1000",
        "price": "1.09450",
        "strategy": "s",
        "pnl": None,
    }
    with Plain(shared_hub.port, "channels=system") as both, Plain(shared_hub.port, "channels=system") as none:
        for client in (both, none):
            assert client.body()["type"] == "connected"
        both.ask("subscribe:alerts,trades")
        shared_bus.publish(topics.OBSERVABILITY_EVENTS, topics.EVENTS_TOPIC, alert_event("observer", alert))
        body = both.next_but_snapshots()
        assert isinstance(body.pop("timestamp"), float)
        assert body == {"type": "alert_notification", "data": alert}
        shared_bus.publish(topics.OBSERVABILITY_EVENTS, topics.EVENTS_TOPIC, event_body("trade_executed", "mm-1", trade))
        while not (text := str(both.receive())).startswith('{"type":"trade_notification","timestamp":'):
            assert "metrics_update" in text
        assert '"quantity":1000,"price":1.09450,' in text
        assert json.loads(text)["data"]["bot"] == "mm-1"
        assert none.ask({"type": "health"})["type"] == "health"
