"""`/ws` on a real hub: books, heartbeats, status and alerts, without credentials.

Expected values are from sections 6, 7 and 9 of the page "Order books".
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from api.asyncapi import document
from api.schemas.books import HeartbeatMessage, InternalOrderbook, ServerStatus, WebSocketMessage
from config.settings import Settings
from db.bus import Bus
from db.timestamps import utc_now
from health.reports import read_processes
from tests.conformance.websocket_client import Closed, Refused
from tests.conftest import until
from tests.support import hub_books
from tests.support.plain import Books, Plain, snapshot
from tests.support.processes import Web
from tests.support.processes import books as book_process
from tests.support.raw_http import exchange, request

LIMIT = 6
VARIABLES = {
    "SOURCES": "scenario", "SCENARIO": "stable-mode", "HEARTBEAT_INTERVAL": "60", "RATE_EVENTS": "5000/s", "RATE_CONNECTIONS": "100",
    "WS_MAX_CONNECTIONS": str(LIMIT), "OUTBOX_TIMEOUT": "60",
}  # fmt: skip
DOCUMENT = document("1.2.3", "127.0.0.1:5001")
NUMBERS = itertools.count(1)
EIGHT = [
    "status", "uptime_seconds", "total_messages_processed", "current_queue_size", "memory_usage_mb", "active_clients",
    "current_scenario", "last_heartbeat",
]  # fmt: skip
MORE = [
    "lag_ms", "queue_max", "queue_peak", "dropped", "backpressure_seconds", "books", "scenario_running", "scenario_run", "configuration",
]  # fmt: skip


@pytest.fixture(scope="module")
def shared_variables() -> dict[str, str]:
    return VARIABLES


class Publisher:
    """The process of the books: every `beat` is a heartbeat with these figures."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.books = {"BTCUSDT": "live"}
        self.figures: dict[str, Any] = {}

    def book(self, number: int, instrument: str = "BTCUSDT", *, starts: bool = False) -> None:
        self.bus.publish_books(hub_books.messages(number, instrument, starts=starts))

    def state(self, name: str, previous: str | None, reason: str, instrument: str = "BTCUSDT") -> None:
        self.books[instrument] = name
        self.bus.publish_book_state(hub_books.state(instrument, name, previous, reason))

    def beat(self, **figures: Any) -> None:
        self.figures.update(figures)
        self.bus.publish_heartbeat(hub_books.heartbeat(**{"books": self.books, **self.figures}))


@pytest.fixture
def books(shared_bus: Bus, shared_hub: Web) -> Publisher:
    """A process that keeps a live book, which the hub has."""
    publisher = Publisher(shared_bus)
    publisher.state("live", "syncing", "start")
    publisher.book(1, starts=True)
    publisher.beat(total_messages_processed=next(NUMBERS))
    until(lambda: has_heartbeat(shared_hub, publisher.figures))
    return publisher


def has_heartbeat(hub: Web, figures: dict[str, Any]) -> bool:
    """Return True if the hub has the heartbeat with these figures, and so all earlier messages."""
    with Books(hub.port, "symbols=BTCUSDT") as client:
        body = client.body()
        return bool(body["type"] == "status" and figures.items() <= body["data"].items())


def of_document(kind: str) -> Any:
    """Return the validator of the AsyncAPI document for frames of this type."""
    components = DOCUMENT["components"]
    return jsonschema_rs.Draft7Validator({**components["messages"][f"books.{kind}"]["payload"], "components": components})


def levels(number: int, depth: int, *, bids: bool) -> list[dict[str, str]]:
    return [{"price": price, "quantity": quantity} for price, quantity in hub_books.levels(number, depth, bids=bids)]


# messages


def test_first_frames_are_status_and_the_complete_book_then_each_message(shared_hub: Web, books: Publisher) -> None:
    with Books(shared_hub.port, "symbols=BTCUSDT&depth=20") as client:
        texts = [client.receive(), client.receive()]
        books.book(2)
        books.beat()
        texts += [client.receive(), client.receive()]
    bodies = [json.loads(text) for text in texts]
    assert [body["type"] for body in bodies] == ["status", "orderbook", "orderbook", "heartbeat"]
    for body in bodies:
        assert list(body) == ["type", "timestamp", "data"]
        assert WebSocketMessage().validate(body) == {}
        assert of_document(body["type"]).is_valid(body)
    status, first, second, heartbeat = (body["data"] for body in bodies)
    assert list(status) == [*EIGHT, *MORE]
    assert ServerStatus().validate(status) == {}
    assert (status["status"], status["current_scenario"], status["books"]) == ("healthy", "stable-mode", {"BTCUSDT": "live"})
    assert status["configuration"]["websocket"] == f"ws://127.0.0.1:{shared_hub.port}/ws"
    assert InternalOrderbook().validate(first) == {}
    assert second == {
        "symbol": "BTCUSDT",
        "bids": levels(2, 20, bids=True),
        "asks": levels(2, 20, bids=False),
        "last_update_id": 50_000_000_002,
        "state": "live",
        "timestamp": "2024-08-08T23:54:15.608000Z",
        "received_at": "2024-08-08T23:54:15.999000Z",
        "processed_at": "2024-08-08T23:54:16.000000Z",
        "processing_ms": 1.0,
        "queue_size": 3,
    }
    assert list(second) == list(first)
    assert HeartbeatMessage().validate(heartbeat) == {}
    assert list(heartbeat) == ["type", *EIGHT, "lag_ms", "queue_max", "queue_peak", "books", "timestamp"]


@pytest.mark.parametrize("depth", [5, 10, 50])
def test_depth_is_that_of_the_query(shared_hub: Web, books: Publisher, depth: int) -> None:
    with Books(shared_hub.port, f"depth={depth}&symbols=BTCUSDT") as client:
        data = client.data("orderbook")
    assert (len(data["bids"]), len(data["asks"])) == (depth, depth)


def test_default_is_every_book_also_a_later_one(shared_hub: Web, books: Publisher) -> None:
    with Books(shared_hub.port) as client, Books(shared_hub.port, "symbols=BTCUSDT") as narrow:
        assert client.data("orderbook")["symbol"] == "BTCUSDT"
        books.state("live", "syncing", "start", "ETHUSDT")
        books.book(7, "ETHUSDT", starts=True)
        data = client.data("orderbook", symbol="ETHUSDT", last_update_id=50_000_000_007)
        assert len(data["bids"]) == 20
        books.book(8)
        assert narrow.data("orderbook", last_update_id=50_000_000_008)["symbol"] == "BTCUSDT"
    with Books(shared_hub.port, "symbols=ETHUSDT,BTCUSDT") as both:
        assert [both.data("orderbook")["symbol"] for _ in range(2)] == ["ETHUSDT", "BTCUSDT"]


def test_both_routes_have_their_own_frames_and_places(shared_hub: Web, shared_bus: Bus, books: Publisher) -> None:
    with ExitStack() as stack:
        metrics = [stack.enter_context(Plain(shared_hub.port)) for _ in range(LIMIT)]
        clients = [stack.enter_context(Books(shared_hub.port)) for _ in range(LIMIT)]
        for client in (*metrics, *clients):
            client.body()
        with pytest.raises(Refused) as caught, Books(shared_hub.port):
            pass
        assert caught.value.answer.status == 503
        assert int(caught.value.answer.headers["retry-after"]) >= 1
        books.beat()
        books.book(3)
        shared_bus.publish_snapshot(snapshot(1))
        for one in metrics:
            assert [one.body()["type"], one.ask({"type": "health"})["type"]] == ["metrics_update", "health"]
        for each in clients:
            each.data("orderbook", last_update_id=50_000_000_003)
            assert each.ask({"type": "ping"})["type"] == "pong"
        until(lambda: plain_clients(shared_bus) == 2 * LIMIT)


def plain_clients(bus: Bus) -> int:
    """The plain clients of the hub in the registry of processes."""
    reports = [each.report for each in read_processes(bus, utc_now()).expected() if each.role == "hub" and each.report is not None]
    return sum(int(report.part("hub")["plain_clients"]) for report in reports)


# handshake


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("depth=7", (400, "invalid_payload")),
        ("depth=", (400, "invalid_payload")),
        ("depth=020", (400, "invalid_payload")),
        ("depth=20&depth=20", (400, "invalid_payload")),
        ("symbols=", (400, "invalid_payload")),
        ("symbols=BTCUSDT,", (400, "invalid_payload")),
        ("channels=system", (400, "invalid_payload")),
        ("&".join(f"a{number}=1" for number in range(11)), (400, "invalid_payload")),
        ("token=abc", (400, "invalid_payload")),
        ("symbols=NOPE", (400, "unknown_instrument")),
        ("symbols=btcusdt", (400, "unknown_instrument")),
        ("symbols=BTCUSDT,%00", (400, "unknown_instrument")),
        ("symbols=BTCUSDT,%ff", (400, "unknown_instrument")),
    ],
)
def test_bad_query_is_refused(shared_hub: Web, query: str, answer: tuple[int, str]) -> None:
    with pytest.raises(Refused) as caught, Books(shared_hub.port, query):
        pass
    refused = caught.value.answer
    error = json.loads(refused.body)["error"]
    assert set(error) == {"code", "message", "details"}
    assert (refused.status, error["code"]) == answer


def test_other_requests_are_426_and_foreign_origins_403(shared_hub: Web) -> None:
    answer = exchange(shared_hub.port, request("/ws"))
    assert (answer.status, answer.code, answer.headers["upgrade"]) == (426, "invalid_payload", "websocket")
    with pytest.raises(Refused) as caught, Books(shared_hub.port, headers={"Origin": "https://evil.example"}):
        pass
    assert caught.value.answer.status == 403


# frames of clients


def test_ping_is_answered_as_text_and_as_json(shared_hub: Web) -> None:
    with Books(shared_hub.port) as client:
        client.send("ping")
        while (text := client.receive()) != "pong":
            assert json.loads(text)["type"] in client.pushed
        body = client.ask({"type": "ping", "id": 5})
        assert list(body) == ["type", "timestamp", "data"]
        assert (body["type"], body["data"], body["timestamp"].endswith("Z")) == ("pong", {}, True)


def test_thousand_garbage_frames_end_nothing(shared_hub: Web, books: Publisher) -> None:
    random.seed(16)
    with Books(shared_hub.port, "symbols=BTCUSDT") as client, Books(shared_hub.port, "symbols=BTCUSDT") as other:
        for _ in range(20):
            for _ in range(50):
                if random.random() < 0.3:
                    client.send_binary(random.randbytes(random.randint(0, 300)))
                else:
                    client.send(garbage())
            codes = [client.next_but_snapshots()["error"]["code"] for _ in range(50)]
            assert codes == ["invalid_payload"] * 50
        books.book(4)
        for each in (client, other):
            assert each.data("orderbook", last_update_id=50_000_000_004)["state"] == "live"
        assert client.ask({"type": "ping"})["type"] == "pong"


def garbage() -> str:
    starts = ("", "{", "[", "null", "pong", "PING", "subscribe:", '{"type":', '{"type":"health"}', '{"type":["ping"]}', "auth ", '"')
    rest = "".join(random.choice('abc{}[]":,\\ \u20ac\U0001f600\x000123') for _ in range(random.randint(0, 200)))
    text = random.choice(starts) + rest
    return text if text != "ping" else "no"


# slow clients


def test_stalled_client_receives_the_newest_book_and_a_gap_notice(shared_hub: Web, books: Publisher) -> None:
    last = 3_000
    with Books(shared_hub.port, "symbols=BTCUSDT&depth=50") as slow, Books(shared_hub.port, "symbols=BTCUSDT&depth=50") as quick:
        for number in range(10, last + 1):
            books.bus.publish_books([hub_books.message(number, 50)])
            if number % 20 == 0:
                quick.data("orderbook", last_update_id=50_000_000_000 + number)
        received: list[int] = []
        while (body := slow.body())["type"] != "gap_notice":
            if body["type"] == "orderbook":
                received.append(body["data"]["last_update_id"] - 50_000_000_000)
                newest = body["data"]
        assert body == {"type": "gap_notice", "dropped": body["dropped"], "reason": "slow_consumer"}
        assert of_document("gap_notice").is_valid(body)
        assert (received[-1], newest["bids"]) == (last, levels(last, 50, bids=True))
        assert received == sorted(received)
        sent = [number for number in received if number >= 10]
        assert len(sent) + body["dropped"]["BTCUSDT|50"] == last - 9
        books.bus.publish_books([hub_books.message(last + 1, 50)])
        assert slow.data("orderbook")["last_update_id"] == 50_000_000_000 + last + 1


# states, status, alerts


def test_book_that_leaves_live_is_marked_and_alerts_once(shared_hub: Web, books: Publisher) -> None:
    with Books(shared_hub.port, "symbols=BTCUSDT") as client:
        client.data("orderbook", state="live")
        body = {**hub_books.state("BTCUSDT", "gap", "live", "missing_update", 9), "expected_id": 10, "received_id": 12}
        books.bus.publish_book_state(body)
        books.state("resyncing", "gap", "missing_update")
        seen = [client.body() for _ in range(3)]
        alerts = [each["data"] for each in seen if each["type"] == "alert"]
        marked = [each["data"]["state"] for each in seen if each["type"] == "orderbook"]
        assert alerts == [
            {
                "severity": "warning", "code": "missing_update",
                "message": "The book of BTCUSDT is not live: it is gap (missing_update).",
                "symbol": "BTCUSDT", "value": 12, "threshold": 10,
            }
        ]  # fmt: skip
        assert marked == ["gap", "resyncing"]
        with Books(shared_hub.port, "symbols=BTCUSDT") as late:
            data = late.data("orderbook")
            assert (data["state"], data["last_update_id"]) == ("resyncing", 50_000_000_001)
        books.state("live", "resyncing", "missing_update")
        books.book(5, starts=True)
        assert client.data("orderbook")["state"] == "live"


@pytest.mark.parametrize(
    ("figures", "status", "severity", "code", "value", "threshold"),
    [
        ({"status": "degraded", "current_queue_size": 1001}, "degraded", "warning", "queue", 1001, 1000),
        ({"status": "unhealthy", "current_queue_size": 1801, "lag_ms": 9000.0}, "unhealthy", "critical", "queue", 1801, 1800),
        ({"status": "degraded", "lag_ms": 1000.5}, "degraded", "warning", "lag", 1000.5, 1000),
        ({"status": "degraded", "books": {"BTCUSDT": "stale"}}, "degraded", "warning", "books", 1, 0),
        ({"status": "unhealthy", "books": {"BTCUSDT": "stale"}}, "unhealthy", "critical", "books", None, 30),
    ],
)
def test_status_that_becomes_worse_is_sent_with_an_alert(
    figures: dict[str, Any], status: str, severity: str, code: str, value: float | None, threshold: float, shared_hub: Web, books: Publisher
) -> None:
    with Books(shared_hub.port, "symbols=BTCUSDT") as client:
        assert client.data("status")["status"] == "healthy"
        books.beat(**figures)
        body = client.next_of("alert")
        assert of_document("alert").is_valid(body)
        alert = body["data"]
        assert [alert[name] for name in ("severity", "code", "symbol", "value", "threshold")] == [severity, code, None, value, threshold]
        assert alert["message"].startswith(f"The status is {status}: ")
        with Books(shared_hub.port, "symbols=BTCUSDT") as late:
            assert late.data("status")["status"] == status
        usual = {"status": "healthy", "current_queue_size": 0, "lag_ms": 1.5, "books": {"BTCUSDT": "live"}}
        books.beat(**usual)
        assert client.data("status", current_scenario="stable-mode")["status"] == "healthy"


def test_switch_of_the_scenario_reaches_every_client_before_the_next_heartbeat(shared_hub: Web, books: Publisher) -> None:
    with Books(shared_hub.port) as first, Books(shared_hub.port, "symbols=BTCUSDT") as second:
        for client in (first, second):
            assert client.data("status")["current_scenario"] == "stable-mode"
        body = {"previous_scenario": "stable-mode", "current_scenario": "extreme-spike", "run_id": "6a9f3f0e-0000-4000-8000-000000000000"}
        books.bus.publish_scenario_change(body)
        for client in (first, second):
            assert client.data("status")["current_scenario"] == "extreme-spike"
        books.bus.publish_scenario_change({**body, "previous_scenario": "extreme-spike", "current_scenario": "stable-mode"})
        assert first.data("status", current_scenario="stable-mode")


# the end of the process of the books, and that of the hub


@pytest.fixture
def hub(settings: Settings, bus: Bus, tmp_path: Path) -> Iterator[Web]:
    with Web("hub", settings, tmp_path / "hub.log", **{**VARIABLES, "HEARTBEAT_INTERVAL": "0.3"}) as process:
        yield process


def test_lost_heartbeat_marks_books_and_status_until_the_next_one(hub: Web, bus: Bus) -> None:
    books = Publisher(bus)
    with Books(hub.port, "symbols=BTCUSDT") as client:
        books.state("live", "syncing", "start")
        books.book(1, starts=True)
        books.beat()
        found: dict[str, dict[str, Any]] = {}  # type, or code of an alert -> data
        while not {"orderbook", "status", "disconnected", "heartbeat"} <= found.keys():
            body = client.body(20)
            data, kind = body["data"], body["type"]
            if kind == "alert" or data.get("state") == "stale" or data.get("status") == "unhealthy":
                found[data["code"] if kind == "alert" else kind] = data
        assert found["orderbook"]["last_update_id"] == 50_000_000_001
        assert found["status"]["books"] == {"BTCUSDT": "stale"}
        assert (found["disconnected"]["severity"], found["disconnected"]["symbol"]) == ("warning", "BTCUSDT")
        lost = found["heartbeat"]
        assert (lost["severity"], lost["symbol"], lost["threshold"]) == ("critical", None, pytest.approx(0.9))
        assert lost["value"] > lost["threshold"]
        books.beat()
        back = {body["type"]: body["data"] for body in (client.body(), client.body(), client.body())}
        assert (back["status"]["status"], back["orderbook"]["state"]) == ("healthy", "live")
        assert back["orderbook"]["last_update_id"] == 50_000_000_001


def test_restarted_hub_begins_with_the_last_book(hub: Web, bus: Bus) -> None:
    books = Publisher(bus)
    with Books(hub.port) as client, Books(hub.port, "symbols=BTCUSDT") as waiting:
        assert waiting.ask({"type": "ping"})["type"] == "pong", "neither book nor heartbeat exists: the connection stays"
        bus.put_books({"BTCUSDT": hub_books.row("BTCUSDT", "live")})
        books.state("live", "syncing", "start")
        books.book(1, starts=True)
        books.beat()
        for each in (client, waiting):
            kinds = {each.body()["type"] for _ in range(3)}
            assert {"orderbook", "status"} <= kinds <= each.pushed
        assert hub.ask_to_stop() == 0
        for each in (client, waiting):
            error = each.next_but_snapshots()
            assert (error["type"], error["error"]["code"]) == ("error", "unavailable")
            assert 1 <= error["error"]["details"]["retry_after"] <= 5
            with pytest.raises(Closed) as caught:
                each.receive()
            assert caught.value.code == 1001
    assert "Traceback" not in hub.output()
    books.beat()
    hub.start()
    with Books(hub.port, "symbols=BTCUSDT") as again:
        books.beat()
        data = again.data("orderbook")
        assert (data["last_update_id"], len(data["asks"])) == (50_000_000_001, 20)


def test_scenario_sends_status_books_and_heartbeats(hub: Web, settings: Settings, tmp_path: Path) -> None:
    """With the real process of the books: what `wscat` shows in the page."""
    variables = {"SOURCES": "scenario", "HEARTBEAT_INTERVAL": "0.3", "SCENARIO": "stable-mode"}
    with Books(hub.port, "symbols=BTCUSDT&depth=20") as client, book_process(settings, tmp_path / "books.log", **variables):
        data = client.data("orderbook", 60)
        assert (data["symbol"], data["state"], len(data["bids"]), len(data["asks"])) == ("BTCUSDT", "live", 20, 20)
        first = client.data("heartbeat", current_scenario="stable-mode")
        assert HeartbeatMessage().validate(first) == {}
        later = client.data("orderbook")
        assert later["last_update_id"] > data["last_update_id"]
        assert InternalOrderbook().validate(later) == {}
        until(lambda: client.data("heartbeat")["total_messages_processed"] > first["total_messages_processed"])
    with Books(hub.port, "symbols=BTCUSDT") as late:
        status = late.data("status")
        assert ServerStatus().validate(status) == {}
        if status["status"] != "unhealthy":  # the process was killed just now
            assert late.data("status", status="unhealthy")["books"] == {"BTCUSDT": "stale"}
