"""`/ws/metrics` on a real hub: handshakes, frames, heartbeats and limits, without credentials."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.conformance.http_client import Server
from tests.conformance.websocket_client import PING, PONG, TEXT, Closed, Refused, frame
from tests.support.plain import ROUTE, Plain
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
        client.send(*["ping"] * 200, *["health"] * 10)
        received = [str(client.receive()) for _ in range(210)]
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
    plain.send_bytes(frame(PONG, b"") * 200 + frame(TEXT, b"ping") * 20)
    answers = [plain.receive() for _ in range(20)]
    assert [json.loads(text)["error"]["code"] for text in answers if text != "pong"].count("too_many_requests") >= 5


def test_connection_without_bytes_ends_when_the_client_goes(shared_hub: Web) -> None:
    client = Plain(shared_hub.port)
    client._sock.shutdown(socket.SHUT_WR)
    assert client.closed_with(10) is None
    assert Server("127.0.0.1", shared_hub.port).request("GET", "/hub/health").status == 200
