"""The complete contract through every supported client, version and transport.

All clients are connected to one hub from the start. Each test uses one of them; the restarts of the
hub happen once for all.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
import socketio

from config import settings as settings_module
from config.settings import Settings
from db.bus import Bus
from tests.conformance.compatible import KINDS, PACKAGES, TRANSPORTS, Client, Node, make, make_python, runs_here
from tests.conformance.http_client import UNSUPPORTED, Server
from tests.conftest import Servers, until
from tests.support.answers import get
from tests.support.ports import free_port
from tests.support.processes import ROOT, Web

NEEDS_AIOHTTP = "python-socketio's asyncio client needs aiohttp, which is not installed here"
HERE = [kind for kind in KINDS if runs_here(kind)]
kinds = pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.skipif(not runs_here(kind), reason=NEEDS_AIOHTTP)) for kind in KINDS]
)
PAIRS = ("EUR_USD", "GBP_USD")
UNPRICED = "NZD_JPY"  # has no price in these tests


@pytest.fixture(scope="module")
def settings_of_all(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The servers of the test session; the bus is emptied first, the store is only read."""
    redis = redis_client.Redis.from_url(servers.operator_url, protocol=2)
    redis.flushall()
    redis.close()
    folder = str(tmp_path_factory.mktemp("var"))
    environ = {"DATABASE_URL": servers.database_url, "REDIS_URL": servers.redis_url, "HUB_DATA_DIR": folder, "SOURCES": ""}
    return settings_module.load(environ, dotenv=None)


@pytest.fixture(scope="module")
def feed(settings_of_all: Settings, servers: Servers) -> Iterator[Bus]:
    bus = Bus(str(settings_of_all.redis_url), lambda: datetime.now(UTC))
    bus.set_instruments(servers.calendars)
    yield bus
    bus.close()


@pytest.fixture(scope="module")
def hub(settings_of_all: Settings, feed: Bus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A hub that is full once every client is connected."""
    log = tmp_path_factory.mktemp("hub") / "hub.log"
    with Web("hub", settings_of_all, log, WEBSOCKET_MAX_CLIENTS=str(len(HERE))) as process:
        yield process
        assert "Traceback" not in process.output(), process.output()[-3000:]


@pytest.fixture(scope="module")
def clients(hub: Web) -> Iterator[dict[str, Client]]:
    with ExitStack() as stack:
        everybody = {kind: make(kind, hub.url) for kind in HERE}
        for client in everybody.values():
            stack.enter_context(client)
        for client in everybody.values():
            client.wait("connection_established", seconds=60)
        yield everybody


@pytest.fixture
def client(kind: str, clients: dict[str, Client]) -> Client:
    """One of the clients, without subscriptions."""
    client = clients[kind]
    client.call("unsubscribe", {"pairs": "all"})
    return client


def publish(bus: Bus, instrument: str = "EUR_USD", count: int = 1) -> list[int]:
    """Publish prices; return their sequence numbers."""
    time = datetime(2025, 11, 18, 12, 30, tzinfo=UTC)
    return [bus.cache_price(instrument, bid="1.0945", ask="1.0947", mid="1.0946", time=time).seq for _ in range(count)]


def await_price(client: Client, seq: int) -> None:
    """Wait until the hub has the EUR_USD price of this number."""
    until(lambda: client.call("request_price", {"instrument": "EUR_USD"}).get("seq") == seq, what=f"price {seq} in the hub")


def answered(client: Client, event: str, answer_event: str, *payload: Any) -> Any:
    """Return the body of the ack; check that the event came too, with the same body."""
    before = len(client.bodies(answer_event))
    ack = client.call(event, *payload)
    assert client.wait(answer_event, before + 1) == ack
    return ack


def refused(client: Client, event: str, *payload: Any) -> str:
    """Return the code of the error, which comes as event and as ack."""
    body = answered(client, event, "error", *payload)
    assert set(body) == {"code", "message", "event", "details"}
    assert body["event"] == event
    return str(body["code"])


@kinds
def test_greeting_arrives_first_over_the_requested_transport(kind: str, clients: dict[str, Client]) -> None:
    client = clients[kind]
    first = [name for name, _ in client.received if name != "transport"][:2]
    assert sorted(first) == ["connect", "connection_established"]
    hello = client.bodies("connection_established")[0]
    assert {"client_id", "message", "server_time"} <= set(hello)
    assert (len(hello["available_pairs"]), hello["ping_interval"], hello["ping_timeout"]) == (31, 25, 5)
    expected = "polling" if kind.endswith("/polling") else "websocket"
    until(lambda: client.transport() == expected, what=f"the transport {expected}")


@kinds
def test_subscribe_accepts_one_several_or_all_and_rejects_unknown_pairs(client: Client, feed: Bus) -> None:
    assert answered(client, "subscribe", "subscription_confirmed", {"pairs": UNPRICED})["added"] == [UNPRICED]
    body = answered(client, "subscribe", "subscription_confirmed", {"pairs": ["EUR_USD", "NOPE", 7]})
    assert set(body["pairs"]) == {"EUR_USD", UNPRICED}
    assert [(item["pair"], item["code"]) for item in body["rejected"]] == [("NOPE", "unknown_instrument"), (7, "invalid_payload")]
    assert (body["pair_count"], body["recovered"], body["max_rate"]) == (2, {}, None)
    assert answered(client, "get_subscriptions", "subscriptions_info")["pair_count"] == 2
    gone = answered(client, "unsubscribe", "unsubscription_confirmed", {"pairs": ["EUR_USD", "GBP_USD"]})
    assert (gone["removed"], gone["pairs"], gone["pair_count"]) == (["EUR_USD"], [UNPRICED], 1)
    assert answered(client, "subscribe", "subscription_confirmed", {"pairs": "all", "max_rate": 5})["pair_count"] == 31
    assert answered(client, "unsubscribe", "unsubscription_confirmed", {"pairs": "all"})["pairs"] == []


@kinds
def test_subscriber_receives_a_snapshot_then_live_prices_until_it_unsubscribes(client: Client, feed: Bus) -> None:
    seq = publish(feed)[0]
    await_price(client, seq)
    answer = client.call("subscribe", {"pairs": ["EUR_USD"]})
    latest = answer["snapshot"]["EUR_USD"]
    assert latest["seq"] == seq
    assert publish(feed, count=3)[-1] == seq + 3
    update = client.wait("price_update", where=lambda body: body["seq"] == seq + 3)
    assert client.seqs()[-3:] == [seq + 1, seq + 2, seq + 3]
    assert list(update) == ["instrument", "price", "timestamp", "seq", "epoch"]
    assert update["price"] == {"bid": "1.0945", "ask": "1.0947", "mid": "1.0946", "time": "2025-11-18T12:30:00.000000Z"}
    client.call("unsubscribe", {"pairs": ["EUR_USD"]})
    heard = len(client.seqs())
    publish(feed)
    await_price(client, seq + 4)
    assert len(client.seqs()) == heard


@kinds
def test_each_request_is_answered_by_event_and_ack(client: Client, feed: Bus) -> None:
    seq = publish(feed)[0]
    await_price(client, seq)
    price = answered(client, "request_price", "price_response", {"instrument": "EUR_USD"})
    everything = answered(client, "request_all_prices", "all_prices_response")
    assert everything["prices"]["EUR_USD"] == price["price"]
    assert everything["count"] == len(everything["prices"])
    assert UNPRICED not in everything["prices"]
    stats = answered(client, "get_server_stats", "server_stats")
    assert stats["connected_clients"] == len(HERE)
    assert stats["redis_connected"] is True
    assert answered(client, "ping", "pong", {"timestamp": 1234.5})["timestamp"] == 1234.5
    assert set(answered(client, "ping", "pong")) == {"timestamp", "server_time"}


@kinds
def test_invalid_event_is_refused_with_a_code(client: Client) -> None:
    assert refused(client, "subscribe", {"pairs": []}) == "invalid_payload"
    assert refused(client, "subscribe") == "invalid_payload"
    assert refused(client, "unsubscribe", {}) == "invalid_payload"
    assert refused(client, "request_price", {"instrument": "XXX_YYY"}) == "unknown_instrument"
    assert refused(client, "request_price", {"instrument": UNPRICED}) == "no_price"
    assert refused(client, "no_such_event") == "invalid_payload"
    before = len(client.bodies("error"))
    for _ in range(300):
        client.emit("ping")
    assert client.wait("error", before + 1)["code"] == "too_many_requests"
    until(lambda: client.call("ping").get("server_time"), what="tokens for another event")


@kinds
def test_alerts_arrive_once_and_data_ready_without_a_subscription(client: Client, feed: Bus) -> None:
    heard = {event: len(client.bodies(event)) for event in ("volatility_alert", "correlation_alert", "data_ready")}

    def ring() -> None:
        feed.publish_volatility_alert("EUR_USD", 0.03, threshold=0.02, severity="warning")
        feed.publish_correlation_alert("EUR_USD", "GBP_USD", 0.1, previous=0.9, threshold=0.2, severity="critical")
        feed.publish_data_ready("volatility", ["EUR_USD"], datetime(2025, 1, 1, tzinfo=UTC))

    ring()
    assert client.wait("data_ready", heard["data_ready"] + 1)["data_type"] == "volatility"
    assert [len(client.bodies(event)) - heard[event] for event in heard] == [0, 0, 1]
    client.call("subscribe", {"pairs": list(PAIRS)})
    ring()
    client.wait("data_ready", heard["data_ready"] + 2)
    alert = client.wait("volatility_alert", heard["volatility_alert"] + 1)
    assert (alert["instrument"], alert["volatility"], alert["severity"]) == ("EUR_USD", 0.03, "warning")
    alert = client.wait("correlation_alert", heard["correlation_alert"] + 1)
    assert (alert["instrument1"], alert["instrument2"], alert["severity"]) == ("EUR_USD", "GBP_USD", "critical")
    feed.publish_data_ready("hourly_candles", ["EUR_USD"], datetime(2025, 1, 1, tzinfo=UTC))
    client.wait("data_ready", heard["data_ready"] + 3)
    assert [len(client.bodies(event)) - heard[event] for event in heard] == [1, 1, 3]


@pytest.fixture(scope="module")
def refusals(hub: Web, clients: dict[str, Client]) -> dict[str, Any]:
    """A second client of each kind is refused, because the hub is full."""
    assert clients
    told = {}
    with ExitStack() as stack:
        late = {kind: make(kind, hub.url, reconnection=False) for kind in HERE if not kind.startswith("python")}
        for kind, client in late.items():
            stack.enter_context(client)
            told[kind] = client.wait("connect_error", seconds=60)["data"]
    for kind in set(HERE) - set(told):
        told[kind] = _refused_by_exception(kind, hub.url)
    return told


def _refused_by_exception(kind: str, url: str) -> Any:
    """A client of python-socketio receives the refusal, and raises."""
    client = make_python(kind, url, reconnection=False)
    try:
        with pytest.raises(socketio.exceptions.ConnectionError):
            client.connect()
        return client.wait("connect_error")["data"]
    finally:
        client.__exit__(None, None, None)


@kinds
def test_client_beyond_the_limit_is_refused(kind: str, refusals: dict[str, Any]) -> None:
    assert refusals[kind]["code"] == "server_full"
    details = refusals[kind]["details"]
    assert details == {"max_clients": len(HERE), "retry_after": details["retry_after"]}
    assert 5 <= details["retry_after"] <= 15


class Prices:
    """Publishes prices of both pairs by turns, until it is stopped."""

    def __init__(self, bus: Bus) -> None:
        self.last: dict[str, int] = {}  # instrument -> seq of its newest price
        self._bus = bus
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Prices:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            for pair in PAIRS:
                self.last[pair] = publish(self._bus, pair)[-1]


def await_more(clients: dict[str, Client], more: int = 10) -> None:
    """Wait until each client has `more` further prices of each pair."""
    goals = {(kind, pair): len(client.seqs(pair)) + more for kind, client in clients.items() for pair in PAIRS}
    for (kind, pair), goal in goals.items():
        until(lambda kind=kind, pair=pair, goal=goal: len(clients[kind].seqs(pair)) >= goal, 60, f"{more} prices of {pair} for {kind}")  # type: ignore[misc]


@pytest.fixture(scope="module")
def survivors(hub: Web, feed: Bus, clients: dict[str, Client]) -> tuple[dict[str, Client], dict[str, int]]:
    """All clients after a kill and a stop of the hub, each with a restart; and the last prices.

    Prices were published all the time.
    """
    for client in clients.values():
        client.call("unsubscribe", {"pairs": "all"})
        client.received.clear()
        client.follow(*PAIRS)
        client.wait("subscription_confirmed")
    with Prices(feed) as prices:
        await_more(clients)
        hub.kill()
        for client in clients.values():
            client.wait("disconnect", seconds=60)
        hub.start()
        await_more(clients)
        assert hub.ask_to_stop() == 0
        hub.start()
        await_more(clients)
    for pair, last in prices.last.items():
        for client in clients.values():
            until(lambda client=client, pair=pair, last=last: last in client.seqs(pair), 60, f"the last price of {pair}")  # type: ignore[misc]
    return clients, prices.last


@kinds
def test_client_misses_and_repeats_nothing_after_a_kill_and_a_stop_of_the_hub(
    kind: str, survivors: tuple[dict[str, Client], dict[str, int]]
) -> None:
    client, last = survivors[0][kind], survivors[1]
    snapshot = client.bodies("subscription_confirmed")[0]["snapshot"]
    for pair in PAIRS:
        joined = snapshot[pair]["seq"] if pair in snapshot else 0
        assert client.seqs(pair) == list(range(joined + 1, last[pair] + 1))
    assert len(client.bodies("connection_established")) >= 2
    for answer in client.bodies("subscription_confirmed")[1:]:
        assert answer["recovered"] == dict.fromkeys(PAIRS, True)
    stopping = [error for error in client.bodies("error") if error["code"] == "unavailable"]
    assert len(stopping) == 1
    assert 0 < stopping[0]["details"]["retry_after"] < 10
    assert client.bodies("gap_notice") == []


# what is not served


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_client_of_version_2_is_refused(transport: str, hub: Web) -> None:
    """It shows only a status; the reason is in the body of the answer and in the log of the hub."""
    with Node("sio-2", hub.url, TRANSPORTS[transport], reconnection=False) as client:
        error = client.wait("connect_error")
    assert error["message"] == ("websocket error" if transport == "websocket" else "xhr poll error")
    assert str(error["data"]).endswith("400")
    assert client.bodies("connect") == []
    host, port = hub.url.removeprefix("http://").split(":")
    answer = Server(host, int(port)).request("GET", "/socket.io/?EIO=3&transport=polling&b64=1")
    assert answer.error == UNSUPPORTED
    lines = [line for line in hub.output().splitlines() if "another protocol version" in line]
    assert len(lines) >= 1
    assert '"engine_io": "3"' in lines[0]


def test_hub_without_the_bus_accepts_no_client(settings_of_all: Settings, tmp_path: Path) -> None:
    """A client accepted then could recover none of its missed messages.

    Clients try again by themselves.
    """
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    with Web("hub", settings_of_all, tmp_path / "hub.log", REDIS_URL=nowhere).popen_only() as hub:
        until(lambda: get(hub.url, "/hub/health")[0] == 503, 60, "a hub in ill health")
        assert get(hub.url, "/socket.io/?EIO=4&transport=polling")[0] == 503


def test_installed_client_has_the_named_version() -> None:
    """The lock file has the oldest and a current version of each supported major version."""
    versions = {
        name: json.loads((ROOT / "tests/js/compat/node_modules" / name / "package.json").read_text())["version"]
        for name in (*PACKAGES, "sio-2")
    }
    assert (versions["sio-4-oldest"], versions["sio-3-oldest"], versions["sio-3"]) == ("4.0.0", "3.0.0", "3.1.3")
    assert versions["sio-4"].startswith("4.")
    assert versions["sio-2"].startswith("2.")
