"""Clients that send too many packets, on a real hub: each kind of packet ends its sender alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from itertools import chain
from typing import Any

import orjson
import pytest

from db.bus import Bus
from tests.bench.flooder import FLOODS, connect, flood
from tests.conformance.http_client import Server
from tests.conformance.polling_client import Polling
from tests.conformance.websocket_client import TEXT, WebSocket, frame
from tests.conftest import until
from tests.integration.test_engine_faults import Bystander, joined, joined_by_polling, quiet
from tests.support.clients import PythonClient
from tests.support.processes import Web

DEADLINE = 60.0  # seconds that only a broken hub reaches
_SLOW = b'42["ping",{"timestamp":1}]'


def packets_of(polling: Polling) -> list[list[str]]:
    """Flood by polling, with a poll after each payload; return the packets of each poll."""
    polls: list[list[str]] = []
    began = time.monotonic()
    while time.monotonic() < began + DEADLINE and (not polls or polls[-1][-1] != "1"):
        polling.post("\x1e".join(['42["ping"]'] * 40))
        polls.append(polling.get().body.decode().split("\x1e"))
    return polls


class Steady:
    """A client that sends 40 events a second and counts their answers."""

    def __init__(self, port: int) -> None:
        self.sent = 0
        self.answers = b""
        self._stop = threading.Event()
        self._socket = connect(port)
        self._socket.setblocking(False)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        began = time.monotonic()
        while not self._stop.wait(0.01):
            while self.sent < (time.monotonic() - began) * 40:
                self._socket.send(frame(TEXT, _SLOW))
                self.sent += 1
            with suppress(BlockingIOError):
                self.answers += self._socket.recv(65536)

    def end(self) -> None:
        self._stop.set()
        self._thread.join(60)
        self._socket.close()


@pytest.fixture(scope="module")
def shared_hub(shared_hub: Web) -> Iterator[Web]:
    yield shared_hub
    quiet(shared_hub)


@pytest.fixture(scope="module")
def ends(shared_hub: Web) -> Iterator[dict[str, Any]]:
    """Kind -> the end of its flood; all kinds flood at the same time, beside an honest client."""
    sockets = {kind: connect(shared_hub.port) for kind in FLOODS}
    polling = joined_by_polling(Server("127.0.0.1", shared_hub.port))
    steady = Steady(shared_hub.port)
    with ThreadPoolExecutor(len(FLOODS) + 1) as pool:
        floods: dict[str, Future[Any]] = {kind: pool.submit(flood, sockets[kind], FLOODS[kind], DEADLINE) for kind in FLOODS}
        floods["polling"] = pool.submit(packets_of, polling)
        yield {"floods": floods, "steady": steady}
        for future in floods.values():
            future.result()
    steady.end()
    for sock in sockets.values():
        sock.close()


def test_other_clients_miss_no_message_during_the_floods(shared_hub: Web, shared_bus: Bus, ends: dict[str, Any]) -> None:
    with PythonClient(shared_hub.url) as client:
        client.call("subscribe", {"pairs": "EUR_USD"})
        bystander = Bystander(client, shared_bus, "EUR_USD")
        while not all(future.done() for future in ends["floods"].values()):
            bystander.publish(5)
            until(lambda: client.seqs()[-1:] == bystander.published[-1:], DEADLINE, "the last price")
        bystander.check()
        stats = bystander.stats()
        assert stats["flooding_clients"] >= len(FLOODS) + 1
        assert stats["slow_clients"] == 0


@pytest.mark.parametrize("kind", FLOODS)
def test_flood_of_this_kind_is_closed_with_4429(kind: str, ends: dict[str, Any]) -> None:
    assert ends["floods"][kind].result(DEADLINE)["code"] == 4429


def test_flood_by_polling_ends_with_an_error_and_a_close_packet(ends: dict[str, Any]) -> None:
    polls = ends["floods"]["polling"].result(DEADLINE)
    error, last = polls[-1]
    name, body = orjson.loads(error[2:])
    assert (last, name, body["code"], body["event"]) == ("1", "error", "too_many_requests", "disconnect")
    assert body["details"]["retry_after"] >= 1
    refused = [orjson.loads(packet[2:])[1] for packet in chain(*polls[:-1]) if packet.startswith('42["error"')]
    assert refused
    assert all(body["code"] == "too_many_requests" and body["details"]["retry_after"] >= 1 for body in refused)


def test_client_below_the_rate_stays_connected_during_the_floods(ends: dict[str, Any]) -> None:
    steady: Steady = ends["steady"]
    for future in ends["floods"].values():
        future.result(DEADLINE)
    until(lambda: steady.sent > 40 * 4 and steady.answers.count(b'42["pong"') > 40 * 4, DEADLINE)
    assert b"too_many_requests" not in steady.answers


def test_further_connect_gets_no_further_bucket(server: Server) -> None:
    """Five times 200 events on one transport: the bucket holds 200, and 50 a second come back."""
    accepted = refused = 0
    with WebSocket(server, "/socket.io/") as socket:
        began = time.monotonic()
        for _ in range(5):
            socket.send("40", *[f'42{number}["ping"]' for number in range(200)])
            acks = 0
            while acks < 200:
                packet = str(socket.packet())
                if packet.startswith("43"):
                    acks += 1
                    accepted += "server_time" in packet
                    refused += "too_many_requests" in packet
            socket.send("41")
        assert accepted <= 200 + 50 * (time.monotonic() - began) + 1
        assert refused >= 1
        socket.send("40")
        answer = orjson.loads(str(socket.packet())[2:])
        assert answer["message"] == answer["data"]["code"] == "too_many_requests"
        assert answer["data"]["details"]["retry_after"] >= 1


def test_sixth_connect_of_a_minute_is_refused(server: Server) -> None:
    with WebSocket(server, "/socket.io/") as socket:
        for _ in range(5):
            socket.send("40")
            assert str(socket.packet()).startswith('40{"sid":')
            assert str(socket.packet()).startswith('42["connection_established"')
            socket.send("41")
        socket.send("40", '42["ping"]')  # the event precedes the refusal and is ignored
        packet = str(socket.packet())
        assert packet.startswith("44{")
        body = orjson.loads(packet[2:])["data"]
        assert (body["code"], body["event"]) == ("too_many_requests", "connect")
        with pytest.raises(TimeoutError):
            socket.receive(0.2)
        with PythonClient(f"http://{server.host}:{server.port}") as client:
            assert client.call("ping", {"timestamp": 1})["timestamp"] == 1


def test_large_frame_sent_byte_by_byte_is_read_slowly(shared_hub: Web, server: Server, shared_bus: Bus) -> None:
    """Reads that complete no frame pause, so they are fewer than the bytes."""
    with ExitStack() as stack:
        socket = stack.enter_context(joined(server))
        client = stack.enter_context(PythonClient(shared_hub.url))
        client.call("subscribe", {"pairs": "GBP_USD"})
        bystander = Bystander(client, shared_bus, "GBP_USD")
        data = frame(TEXT, b'42["ping",{"timestamp":"' + b"x" * 3000 + b'"}]')
        for at in range(len(data)):
            socket.send_bytes(data[at : at + 1])
        bystander.publish(5)
        bystander.check()
        assert str(socket.packet()).startswith('42["pong"')


def test_overlapping_posts_of_one_session_end_it(server: Server) -> None:
    polling = joined_by_polling(server)
    body = "\x1e".join(['42["ping"]'] * 1000)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: polling.post(body).status, range(2)))
    assert sorted(answers) == [200, 400]
    assert polling.get().status == 400
