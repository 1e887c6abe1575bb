"""Clients that violate the protocol, on a real hub: other clients stay undisturbed.

`TICKWIRE_CHURN` raises how many connections come and go (2,000).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import Settings
from db.bus import Bus
from db.messages import Tick
from ops import embedded
from tests.conformance.http_client import Server
from tests.conformance.polling_client import Polling
from tests.conformance.websocket_client import CLOSE, TEXT, Closed, WebSocket, frame
from tests.conftest import settings_for, until
from tests.support.answers import get
from tests.support.clients import NodeClient, PythonClient
from tests.support.examples import with_shared_fixtures
from tests.support.hub_variants import variant
from tests.support.processes import Breakable, Web

PATH = "/socket.io/"
OUTBOX = 65536
CHURN = int(os.environ.get("TICKWIRE_CHURN", "2000"))
TIME = "2025-11-18T12:30:00.000000Z"
CLIENTS: dict[str, Callable[[str], PythonClient | NodeClient]] = {
    "python-websocket": lambda url: PythonClient(url),
    "python-polling": lambda url: PythonClient(url, ["polling"]),
    "node-websocket": lambda url: NodeClient(url),
    "node-polling": lambda url: NodeClient(url, ["polling"]),
}


def quiet(hub: Web) -> None:
    assert "Traceback" not in hub.output(), hub.output()[-5000:]


@pytest.fixture(scope="module")
def shared_variables() -> dict[str, str]:
    return {"OUTBOX_LIMIT_BYTES": str(OUTBOX)}


@pytest.fixture(scope="module")
def shared_hub(shared_hub: Web) -> Iterator[Web]:
    """One hub for all tests: sessions that a test leaves behind would disturb the next one."""
    yield shared_hub
    quiet(shared_hub)


class Bystander:
    """A well-behaved client, which must receive every price."""

    def __init__(self, client: PythonClient, bus: Bus, instrument: str) -> None:
        self.client, self.bus, self.instrument = client, bus, instrument
        self.published: list[int] = []

    def publish(self, count: int = 1) -> list[int]:
        tick = Tick(self.instrument, "1.1", "1.2", "1.15", TIME, "test")
        seqs = [stamp.seq for stamp in self.bus.publish_prices([tick] * count)]
        self.published += seqs
        return seqs

    def check(self) -> None:
        """Check that all published prices arrived in order, and that the hub answers."""
        until(lambda: self.client.seqs(self.instrument)[-1:] == self.published[-1:], 60, "the last price")
        assert self.client.seqs(self.instrument) == self.published
        assert self.client.call("ping", {"timestamp": 1})["timestamp"] == 1

    def stats(self) -> dict[str, Any]:
        stats: dict[str, Any] = self.client.stats()
        return stats


@pytest.fixture
def bystander(shared_hub: Web, shared_bus: Bus) -> Iterator[Bystander]:
    with PythonClient(shared_hub.url) as client:
        client.call("subscribe", {"pairs": "EUR_USD"})
        bystander = Bystander(client, shared_bus, "EUR_USD")
        bystander.publish(5)
        bystander.check()  # all of them have arrived
        yield bystander
        bystander.publish(5)
        bystander.check()
    quiet(shared_hub)


def joined(server: Server) -> WebSocket:
    """Return a WebSocket client after its greeting."""
    socket = WebSocket(server, PATH)
    socket.send("40")
    assert str(socket.packet()).startswith('40{"sid":')
    assert str(socket.packet()).startswith('42["connection_established",')
    return socket


def joined_by_polling(server: Server) -> Polling:
    polling = Polling(server, PATH)
    assert polling.post("40").body == b"ok"
    assert [packet[:2] for packet in polling.collect(2)] == ["40", "42"]
    return polling


def sessions(hub: Web) -> int:
    count: int = orjson.loads(get(hub.url, "/hub/health")[1])["sessions"]
    return count


def rest_of(socket: WebSocket) -> list[str | bytes]:
    """Close in order; return all messages until the server has closed too."""
    received = []
    with suppress(OSError):
        socket.send_bytes(frame(CLOSE, (1000).to_bytes(2)))
    with suppress(Closed):
        while True:
            received.append(socket.receive())
    return received


# max_rate


@pytest.mark.parametrize("kind", CLIENTS)
def test_max_rate_conflates_prices_and_the_last_one_arrives(kind: str, shared_hub: Web, bystander: Bystander) -> None:
    rate = 2.0
    with CLIENTS[kind](shared_hub.url) as slow:
        slow.wait("connection_established")
        assert slow.call("subscribe", {"pairs": "EUR_USD", "max_rate": 4.9})["max_rate"] == rate
        began = time.monotonic()
        for _ in range(20):
            last = bystander.publish(20)[-1]
            bystander.check()
        slow.wait("price_update", where=lambda body: body["seq"] == last)
        most = (time.monotonic() - began) * rate + 2  # independent of the speed of the machine
        seqs = slow.seqs()
        assert len(seqs) <= most
        assert len(seqs) < 400
        assert all(after > before for before, after in pairwise(seqs))
        assert slow.bodies("gap_notice") == []
        assert slow.call("subscribe", {"pairs": "EUR_USD"})["max_rate"] is None
        count = len(slow.seqs())
        bystander.publish(30)
        slow.wait("price_update", count + 30)
        assert slow.seqs()[-30:] == bystander.published[-30:]


@pytest.mark.parametrize(("asked", "granted"), [(0.1, 0.1), (1, 1.0), (50, 50.0), (33, 20.0)])
def test_max_rate_is_granted(asked: float, granted: float, bystander: Bystander) -> None:
    assert bystander.client.call("subscribe", {"pairs": "GBP_USD", "max_rate": asked})["max_rate"] == granted


@pytest.mark.parametrize("asked", [0, 0.09, 50.1, -1, "5", True, []])
def test_invalid_max_rate_is_refused(asked: object, bystander: Bystander) -> None:
    answer = bystander.client.call("subscribe", {"pairs": "GBP_USD", "max_rate": asked})
    assert (answer["code"], list(answer["details"])) == ("invalid_payload", ["max_rate"])


def test_alert_overtakes_prices_delayed_by_max_rate(shared_hub: Web, bystander: Bystander) -> None:
    with PythonClient(shared_hub.url) as slow:
        slow.call("subscribe", {"pairs": ["EUR_USD", "USD_JPY"], "max_rate": 0.1})
        bystander.publish()
        slow.wait("price_update")
        waiting = bystander.publish(3)[-1]
        bystander.bus.publish_volatility_alert("EUR_USD", 0.03, threshold=0.02, severity="warning")
        slow.wait("volatility_alert")
        assert waiting not in slow.seqs()  # it may wait for ten seconds
        assert slow.call("subscribe", {"pairs": ["EUR_USD"]})["snapshot"]["EUR_USD"]["seq"] == waiting


def test_clients_with_different_rates_do_not_affect_each_other(shared_hub: Web, bystander: Bystander) -> None:
    rates = (None, 50, 20, 10, 5, 2, 1)
    with ExitStack() as stack:
        clients = [stack.enter_context(PythonClient(shared_hub.url)) for _ in rates]
        for client, rate in zip(clients, rates, strict=True):
            client.call("subscribe", {"pairs": "EUR_USD", "max_rate": rate})
        for _ in range(20):
            last = bystander.publish(10)[-1]
            bystander.check()
        for client in clients:
            client.wait("price_update", where=lambda body: body["seq"] == last)
        counts = [len(client.seqs()) for client in clients]
        assert counts[0] == 200
        assert max(counts[1:]) < 200
        assert counts[-1] <= counts[1]


# clients that do not keep up


def test_polling_client_that_pauses_gets_the_latest_price_and_a_gap_notice(server: Server, bystander: Bystander) -> None:
    polling = joined_by_polling(server)
    assert polling.post('42["subscribe",{"pairs":"EUR_USD"}]').body == b"ok"
    assert polling.collect(1)[0].startswith('42["subscription_confirmed"')
    before = bystander.stats()
    bystander.bus.publish_volatility_alert("EUR_USD", 0.03, threshold=0.02, severity="warning")
    mine: list[int] = []
    while (stats := bystander.stats())["messages_conflated"] < before["messages_conflated"] + 500:
        mine += bystander.publish(200)
        bystander.check()
        assert stats["outbox_bytes"] <= OUTBOX + 1000
    assert stats["slow_clients"] == before["slow_clients"]
    assert stats["average_batch"] >= 1
    packets: list[list[Any]] = []
    while not packets or packets[-1][0] != "gap_notice":
        packets += [orjson.loads(packet[2:]) for packet in polling.collect(1)]
    names = [name for name, _ in packets]
    assert (names.count("gap_notice"), names.count("volatility_alert")) == (1, 1)
    seqs = [body["seq"] for name, body in packets if name == "price_update"]
    dropped = packets[-1][1]
    assert dropped == {"dropped": {"EUR_USD": len(mine) - len(seqs)}, "reason": "slow_consumer"}
    assert seqs == sorted(set(seqs))
    assert seqs[-1] == mine[-1]
    assert bystander.stats()["outbox_bytes"] < 2000
    polling.post("1")


def test_sessions_of_vanished_clients_end_after_the_ping_timeout(shared_settings: Settings, tmp_path: Path) -> None:
    """The clients neither close nor answer, over each transport and at each stage."""
    extra = {"WEBSOCKET_PING_INTERVAL": "1", "WEBSOCKET_PING_TIMEOUT": "1"}
    with Web("hub", shared_settings, tmp_path / "hub.log", **extra) as hub, ExitStack() as stack:
        until(lambda: sessions(hub) == 0, what="an empty hub")
        descriptors = psutil.Process(_worker(hub)).num_fds()
        server = Server("127.0.0.1", hub.port)
        for _ in range(3):
            stack.enter_context(WebSocket(server, PATH))
            stack.enter_context(joined(server))
            half = stack.enter_context(joined(server))
            half.send_bytes(frame(TEXT, b'42["get_server_stats"]')[:9])
            joined_by_polling(server)
            stack.enter_context(Polling(server, PATH).probe())
        until(lambda: sessions(hub) == 0, 60, "their sessions' end")
        until(lambda: psutil.Process(_worker(hub)).num_fds() <= descriptors + 1, 60, "their sockets' end")
        quiet(hub)


def _worker(hub: Web) -> int:
    """Return the process id of the worker, the only child of gunicorn."""
    (child,) = psutil.Process(hub.pid).children()
    pid: int = child.pid
    return pid


def test_connections_that_end_leave_no_session_descriptor_or_memory(shared_hub: Web, server: Server) -> None:
    process = psutil.Process(_worker(shared_hub))
    before = sessions(shared_hub)
    _churn(server, CHURN // 4)  # warms up the allocator
    until(lambda: sessions(shared_hub) <= before, 60, "their sessions' end")
    descriptors, sizes = process.num_fds(), [process.memory_info().rss]
    for _ in range(2):
        _churn(server, CHURN // 2)
        until(lambda: sessions(shared_hub) <= before, 60, "their sessions' end")
        sizes.append(process.memory_info().rss)
    until(lambda: process.num_fds() <= descriptors + 1, 60, f"as few descriptors as the {descriptors} before")
    # Timers of ended sessions stay until they expire, and are small. A leaked connection would be
    # ten times as large.
    assert sizes[2] - sizes[1] <= 4 * 2**20 + 4096 * (CHURN // 2), sizes
    with PythonClient(shared_hub.url) as client:
        stats = client.stats()
        assert (stats["connected_clients"], stats["total_subscriptions"], stats["subscriptions_by_pair"]) == (1, 0, {})
        assert stats["outbox_bytes"] < 2000


def _churn(server: Server, times: int) -> None:
    """Connect, subscribe and leave: by Close, DISCONNECT, within a frame, or without either."""
    for number in range(times):
        with WebSocket(server, PATH) as socket:
            socket.send("40", '42["subscribe",{"pairs":"all","max_rate":5}]' if number % 2 else '42["subscribe",{"pairs":"EUR_USD"}]')
            if number % 4 == 0:
                socket.send("41", "1")
            elif number % 4 == 1:
                socket.packet()
            elif number % 4 == 2:
                socket.send_bytes(frame(TEXT, b'42["ping"]')[:5])
            else:
                rest_of(socket)


# clients that send invalid data


@pytest.mark.parametrize("size", [65_537, 2**20])
def test_frame_too_large_closes_its_sender_alone(size: int, server: Server, bystander: Bystander) -> None:
    with joined(server) as socket:
        socket.send_bytes(frame(TEXT, b"4" + b"x" * size))
        assert socket.closed() == 1009
    polling = joined_by_polling(server)
    assert polling.post(b"4" + b"x" * size).status == 413
    assert polling.get().status == 400


def test_invalid_utf8_closes_its_sender_alone(server: Server, bystander: Bystander) -> None:
    with joined(server) as socket:
        socket.send_bytes(frame(TEXT, b'42["ping",{"timestamp":"\xff"}]'))
        assert socket.closed() == 1007
    polling = joined_by_polling(server)
    assert polling.post(b'42["ping",{"timestamp":"\xff"}]').status == 400
    assert polling.get().status == 400


def test_flood_of_events_is_refused_without_delay_for_others(server: Server, bystander: Bystander) -> None:
    with joined(server) as socket:
        count = 1500
        socket.send(*[f'42{number}["ping",{{"timestamp":{number}}}]' for number in range(count)])
        bystander.publish(50)
        bystander.check()
        acks: dict[int, Any] = {}
        while len(acks) < count:
            packet = str(socket.packet())
            if packet.startswith("43"):
                number, body = packet[2:].split("[", 1)
                acks[int(number)] = orjson.loads("[" + body)[0]
        refused = [body for body in acks.values() if body.get("code") == "too_many_requests"]
        assert list(acks) == list(range(count))
        assert refused
        assert len(refused) < count
        assert all("server_time" in body for body in acks.values() if body not in refused)


json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=10)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)
names = st.sampled_from(["subscribe", "unsubscribe", "request_price", "ping", "connect", "disconnect", "get_server_stats", "*", ""])
placeholders = st.fixed_dictionaries({"_placeholder": st.just(True), "num": st.one_of(st.integers(-2, 12), json)})
payloads = st.one_of(
    st.tuples(names, json).map(list),
    st.tuples(names, placeholders).map(list),
    st.tuples(names, st.fixed_dictionaries({"pairs": json, "since": json, "max_rate": json})).map(list),
    json,
)
socket_packets = st.builds(
    lambda kind, attachments, namespace, number, payload: f"4{kind}{attachments}{namespace}{number}{payload}",
    st.sampled_from("01234567x"),
    st.sampled_from(["", "", "0-", "1-", "2-", "11-", "99999999999-", "-", "²-"]),
    st.sampled_from(["", "", "/,", "/nope,", "/,/,", "/?token=1,", "//"]),
    st.sampled_from(["", "", "0", "7", "99999999999999999999999", "-1", "٣"]),
    st.one_of(payloads.map(lambda value: orjson.dumps(_small(value)).decode()), st.text(max_size=20), st.just("[" * 5000)),
)
engine_packets = st.one_of(
    st.sampled_from(["", "0", "1", "2", "3", "5", "6", "7", "2probe", "5probe", "4", "40", "41", "b", "bAAA"]), st.text(max_size=10)
)
packets = st.lists(st.one_of(socket_packets, socket_packets, engine_packets, st.binary(max_size=20)), min_size=1, max_size=5)
relaxed = with_shared_fixtures(max_examples=50, database=None)


def _small(value: Any) -> Any:
    """Reduce integers to the 64 bits that orjson writes."""
    if isinstance(value, dict):
        return {name: _small(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_small(inner) for inner in value]
    return value % 2**63 if isinstance(value, int) and not isinstance(value, bool) else value


def harmless(answer: str | bytes) -> bool:
    """Return True if an answer reveals no internals of the server."""
    text = answer.decode(errors="replace") if isinstance(answer, bytes) else answer
    return not any(word in text for word in ("Traceback", 'File "', "site-packages", "Error(", '"internal"'))


@given(packets=packets, join=st.booleans())
@relaxed
def test_malformed_packets_over_websocket_disturb_no_other_client(
    server: Server, bystander: Bystander, packets: list[str | bytes], join: bool
) -> None:
    with joined(server) if join else WebSocket(server, PATH) as socket:
        with suppress(OSError):
            socket.send(*packets)
        bystander.publish()
        assert all(map(harmless, rest_of(socket)))


@given(packets=packets, join=st.booleans(), separator=st.sampled_from(["\x1e", "\x1e\x1e", "", "\n"]))
@relaxed
def test_malformed_packets_over_polling_disturb_no_other_client(
    server: Server, bystander: Bystander, packets: list[str | bytes], join: bool, separator: str
) -> None:
    polling = joined_by_polling(server) if join else Polling(server, PATH)
    body = separator.encode().join(packet if isinstance(packet, bytes) else packet.encode() for packet in packets)
    answer = polling.post(body)
    assert answer.status in (200, 400)
    assert harmless(answer.body)
    bystander.publish()
    if answer.status == 200:
        polling.post("1")
        assert harmless(polling.get().body)


@given(data=st.binary(min_size=1, max_size=60))
@relaxed
def test_bytes_that_are_no_frames_disturb_no_other_client(server: Server, bystander: Bystander, data: bytes) -> None:
    with joined(server) as socket:
        socket.send_bytes(data)
        bystander.publish()


# errors of the hub


@pytest.fixture(scope="module")
def faulty_hub(shared_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Web, Path]]:
    """A hub that fails at each connection while the returned file exists."""
    folder = tmp_path_factory.mktemp("faulty")
    fault = folder / "fault"
    with variant("with_fault", shared_settings, folder / "hub.log", FAULT_FILE=str(fault)) as hub:
        yield hub, fault


@pytest.mark.parametrize("name", ["ValueError", "KeyError", "RuntimeError"])
def test_connected_that_raises_closes_that_client_alone(name: str, faulty_hub: tuple[Web, Path], shared_bus: Bus) -> None:
    hub, fault = faulty_hub
    until(lambda: sessions(hub) == 0, 60, "the end of earlier sessions")
    earlier = len(hub.output())
    with PythonClient(hub.url) as client:
        bystander = Bystander(client, shared_bus, "EUR_USD")
        client.call("subscribe", {"pairs": "EUR_USD"})
        server = Server("127.0.0.1", hub.port)
        fault.write_text(name)
        with WebSocket(server, PATH) as socket:
            socket.send("40")
            assert str(socket.packet()).startswith('40{"sid":')
            assert socket.closed() == 1011
        polling = Polling(server, PATH)
        assert polling.post("40").status == 500
        assert polling.get().status == 400
        bystander.publish(5)
        bystander.check()
        assert sessions(hub) == 1
        fault.unlink()
        with joined(server):
            assert bystander.stats()["connected_clients"] == 2
        output = hub.output()[earlier:]
        failures = [record for line in output.splitlines() if (record := orjson.loads(line)).get("level") == "ERROR"]
        assert len(failures) == 2
        assert all(name in str(record) and "Traceback" in str(record) for record in failures)


# health


def test_health_is_503_while_the_hub_has_no_redis(shared_settings: Settings, tmp_path: Path) -> None:
    with (
        Breakable(embedded.redis(tmp_path), tmp_path) as redis,
        Web("hub", settings_for(str(shared_settings.database_url), redis.url, tmp_path), tmp_path / "hub.log", FANOUT_LOOP="python") as hub,
    ):

        def health() -> tuple[int, Any]:
            status, body = get(hub.url, "/hub/health")
            return status, orjson.loads(body)

        known = {"access": "current", "sessions": 0, "fanout_loop": "python"}
        until(lambda: health()[0] == 200, 60, "health")
        with PythonClient(hub.url):
            assert health()[1] | {"sessions": 0} == {**known, "status": "healthy", "redis_connected": True}
            assert health()[1]["sessions"] >= 1
            redis.kill()
            until(lambda: (found := health())[0] == 503 and not found[1]["redis_connected"], 60, "ill health")
            assert get(hub.url, "/hub/live")[0] == 200
            assert health()[1] | {"sessions": 0} == {**known, "status": "unhealthy", "redis_connected": False}
            redis.start()
            until(lambda: health()[0] == 200, 60, "health again")
        quiet(hub)
