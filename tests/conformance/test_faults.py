"""Errors of a client close with 1002, 1007 or 1009, errors of the application with 1011.

An error of the application leaves a traceback in the log.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.conftest import application
from tests.conformance.http_client import UNKNOWN_SID, Server
from tests.conformance.polling_client import Polling
from tests.conformance.test_socket_io import MALFORMED, MALFORMED_BEFORE_CONNECT
from tests.conformance.websocket_client import Closed, WebSocket
from tests.conftest import until

PATH = "/socket.io/"
EXCEPTIONS = ["ValueError", "KeyError", "RuntimeError", "TypeError"]
STEPS = ["connect", "connected"]
# The decoder of attachments is recursive: nested deeper, the values exceed Python's limit.
TOO_DEEP = '451-7["deep",' + "[" * 600 + "]" * 600 + "]"
HEADERS = {
    "Authorization": "Bearer x",
    "X-API-Key": "k",
    "Origin": "http://localhost",
    "User-Agent": "test",
    "X-Forwarded-For": "192.0.2.1",
}
CREDENTIALS = {"Authorization", "X-API-Key"}  # a session keeps none of them


@dataclass(frozen=True, slots=True)
class Faulty(Server):
    """The faulty application, with its log."""

    log: Path

    def tracebacks(self, name: str) -> int:
        return self.log.read_text().count(f"\n{name}: ")


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    log = tmp_path_factory.mktemp("faulty") / "app.log"
    with application(log, "tests.conformance.faulty_app:create()", PATH) as server:
        yield Faulty(server.host, server.port, log)


@pytest.fixture
def other(faulty: Faulty) -> Iterator[WebSocket]:
    """Another client, which must be undisturbed."""
    with joined(faulty) as socket:
        yield socket
        assert ask(socket, "still there") == ["still there"]


def joined(server: Server, **auth: str) -> WebSocket:
    socket = WebSocket(server, PATH)
    socket.send(f"40{json.dumps(auth)}")
    assert str(socket.packet()).startswith('40{"sid":')
    return socket


def joined_by_polling(server: Server, **auth: str) -> Polling:
    session = Polling(server, PATH)
    assert session.post(f"40{json.dumps(auth)}").status == 200
    assert session.collect(1)[0].startswith('40{"sid":')
    return session


def ask(socket: WebSocket, name: str, prefix: str = "") -> Any:
    """Emit an event without arguments and return its ack."""
    socket.send(f"42{prefix}1{json.dumps([name])}")
    answer = str(socket.packet())
    assert answer.startswith(f"43{prefix}1"), answer
    return json.loads(answer.removeprefix(f"43{prefix}1"))[0]


def close_code(socket: WebSocket) -> int | None:
    """Return the close code; a CONNECT packet may come before."""
    try:
        while str(socket.packet()).startswith("40"):
            pass
    except Closed as closed:
        return closed.code
    raise AssertionError("a packet that is not CONNECT")


class TestApplication:
    @pytest.mark.parametrize("step", STEPS)
    @pytest.mark.parametrize("name", EXCEPTIONS)
    def test_connect_that_raises_closes_with_1011(self, step: str, name: str, faulty: Faulty, other: WebSocket) -> None:
        before = faulty.tracebacks(name)
        with WebSocket(faulty, PATH) as socket:
            socket.send(f"40{json.dumps({step: name})}")
            assert close_code(socket) == 1011
        assert faulty.tracebacks(name) > before

    @pytest.mark.parametrize("step", STEPS)
    @pytest.mark.parametrize("name", EXCEPTIONS)
    def test_connect_that_raises_answers_500_over_polling(self, step: str, name: str, faulty: Faulty, other: WebSocket) -> None:
        before = faulty.tracebacks(name)
        session = Polling(faulty, PATH)
        answer = session.post(f"40{json.dumps({step: name})}")
        assert (answer.status, answer.body) == (500, b"")
        assert session.get().error == UNKNOWN_SID
        assert faulty.tracebacks(name) > before

    @pytest.mark.parametrize("name", EXCEPTIONS)
    def test_event_that_raises_closes_with_1011(self, name: str, faulty: Faulty, other: WebSocket) -> None:
        before = faulty.tracebacks(name)
        with joined(faulty) as socket:
            socket.send(f'42["raise","{name}"]')
            assert socket.closed() == 1011
        assert faulty.tracebacks(name) > before

    @pytest.mark.parametrize("name", EXCEPTIONS)
    def test_event_that_raises_answers_500_over_polling(self, name: str, faulty: Faulty, other: WebSocket) -> None:
        session = joined_by_polling(faulty)
        before = faulty.tracebacks(name)
        assert session.post(f'42["raise","{name}"]').status == 500
        assert session.get().error == UNKNOWN_SID
        assert faulty.tracebacks(name) > before

    @pytest.mark.parametrize("packet", ["1", "41"])
    @pytest.mark.parametrize("name", EXCEPTIONS)
    def test_disconnect_that_raises_is_logged_and_the_session_ends(self, name: str, packet: str, faulty: Faulty, other: WebSocket) -> None:
        before = faulty.tracebacks(name)
        with joined(faulty, disconnect=name) as socket:
            socket.send("40/metrics,")
            assert str(socket.packet()).startswith('40/metrics,{"sid":')
            target = f"{PATH}?EIO=4&transport=polling&sid={socket.opened['sid']}"
            socket.send(packet)
            assert socket.closed() == (1000 if packet == "1" else 1011)
        until(lambda: faulty.tracebacks(name) > before, what="the traceback")
        assert faulty.request("GET", target).error == UNKNOWN_SID

    def test_connect_that_raised_can_be_repeated_by_another_session(self, faulty: Faulty) -> None:
        with WebSocket(faulty, PATH) as socket:
            socket.send('40{"connect":"ValueError"}')
            assert socket.closed() == 1011
        with joined(faulty) as socket:
            assert ask(socket, "message") == ["message"]


class TestClient:
    @pytest.mark.parametrize("packet", MALFORMED_BEFORE_CONNECT)
    def test_malformed_packet_before_connect_closes_with_1002(self, packet: str | bytes, faulty: Faulty) -> None:
        before = faulty.log.read_text().count("Traceback")
        with WebSocket(faulty, PATH) as socket:
            socket.send(packet)
            assert socket.closed() == 1002
        assert faulty.log.read_text().count("Traceback") == before

    @pytest.mark.parametrize(
        "packet",
        [*MALFORMED, "9x", "2probe", '42["message"]\ue000', '42["message",' + "[{" * 600],
    )
    def test_malformed_packet_closes_with_1002(self, packet: str | bytes, faulty: Faulty) -> None:
        before = faulty.log.read_text().count("Traceback")
        with joined(faulty) as socket:
            socket.send(packet, b"\x01")
            assert socket.closed() == 1002
        assert faulty.log.read_text().count("Traceback") == before

    def test_deep_event_is_answered_and_the_session_stays(self, faulty: Faulty) -> None:
        with joined(faulty) as socket:
            socket.send(TOO_DEEP, b"\x01")
            assert socket.packet() == '437[["Nested deeper than 16 levels."]]'
            assert ask(socket, "message") == ["message"]

    @pytest.mark.parametrize("attachment", [1, -2, True, "x", None, {}])
    def test_placeholder_without_an_attachment_closes_with_1002(self, attachment: object, faulty: Faulty) -> None:
        with joined(faulty) as socket:
            socket.send(f'451-["message",{json.dumps({"_placeholder": True, "num": attachment})}]', b"\x01")
            assert socket.closed() == 1002

    @pytest.mark.parametrize(
        ("body", "status"),
        [("42{}", 400), ("abc", 400), ("b%%", 400), (b'42["\xff"]', 400), ("3\x1e" * 1001, 400), (b"4" * 65_537, 413)],
        ids=["event", "type", "base64", "utf-8", "packets", "size"],
    )
    def test_malformed_payload_is_refused_and_logged_in_one_line(self, body: str | bytes, status: int, faulty: Faulty) -> None:
        session = joined_by_polling(faulty)
        before = faulty.log.read_text()
        assert session.post(body).status == status
        assert session.get().error == UNKNOWN_SID
        added = faulty.log.read_text().removeprefix(before)
        assert added.count("protocol error of a client") == 1
        assert "Traceback" not in added


class TestHandshake:
    def check(self, found: dict[str, Any], server: Server, transport: str, headers: dict[str, str]) -> None:
        kept = {name.lower(): value for name, value in headers.items() if name not in CREDENTIALS}
        assert found.pop("session")
        assert found == {
            "transport": transport,
            "address": "127.0.0.1",
            "headers": kept | {"host": f"{server.host}:{server.port}"},
            "namespace": "/",
            "auth": {"token": "t"},
            "presented": None,  # this application has no credentials
            "credential": None,
        }

    def test_websocket(self, faulty: Faulty) -> None:
        with WebSocket(faulty, PATH, headers={**HEADERS, "Cookie": "c=1"}) as socket:
            socket.send('40{"token":"t"}')
            socket.packet()
            self.check(ask(socket, "handshake"), faulty, "websocket", HEADERS)

    def test_polling(self, faulty: Faulty) -> None:
        session = Polling(faulty, PATH, {**HEADERS, "Cookie": "c=1"})
        session.post('40{"token":"t"}\x1e421["handshake"]')
        _, answer = session.collect(2)
        self.check(json.loads(answer.removeprefix("431"))[0], faulty, "polling", HEADERS)

    def test_upgrade(self, faulty: Faulty) -> None:
        session = Polling(faulty, PATH, HEADERS)
        with session.probe() as socket:
            socket.send("5", '40{"token":"t"}')
            assert str(socket.packet()).startswith("40{")
            self.check(ask(socket, "handshake"), faulty, "websocket", HEADERS)

    @pytest.mark.parametrize("auth", ["", "{}"])
    def test_connect_without_auth(self, auth: str, faulty: Faulty) -> None:
        with WebSocket(faulty, PATH) as socket:
            socket.send(f"40{auth}")
            socket.packet()
            assert ask(socket, "handshake")["auth"] is None

    def test_further_namespace_has_auth_and_address_but_no_headers(self, faulty: Faulty) -> None:
        with WebSocket(faulty, PATH, headers=HEADERS) as socket:
            socket.send("40", '40/metrics,{"token":"m"}')
            assert str(socket.packet()).startswith("40{")
            assert str(socket.packet()).startswith("40/metrics,{")
            found = ask(socket, "handshake", "/metrics,")
            assert found.pop("session")
            assert found == {
                "transport": "websocket",
                "address": "127.0.0.1",
                "headers": {},
                "namespace": "/metrics",
                "auth": {"token": "m"},
                "presented": None,
                "credential": None,
            }

    def test_refused_client_keeps_its_headers_for_the_next_connect(self, faulty: Faulty) -> None:
        with WebSocket(faulty, PATH, headers=HEADERS) as socket:
            socket.send('40{"refuse":"No."}')
            packet = str(socket.packet())
            assert packet.startswith("44")
            assert json.loads(packet[2:]) == {
                "message": "unauthorized",
                "data": {"code": "unauthorized", "message": "No.", "event": "connect", "details": {"token": ["Expired."]}},
            }
            socket.send('40{"token":"t"}')
            assert str(socket.packet()).startswith("40{")
            self.check(ask(socket, "handshake"), faulty, "websocket", HEADERS)

    def test_namespaces_have_events_and_ids_of_their_own(self, faulty: Faulty) -> None:
        with joined(faulty) as socket:
            socket.send("40/metrics,")
            assert str(socket.packet()).startswith("40/metrics,{")
            assert ask(socket, "one", "/metrics,") == ["one"]
            socket.send("41/metrics,")
            assert ask(socket, "two") == ["two"]
