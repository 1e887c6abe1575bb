"""Socket.IO v5: namespaces, events, acks, attachments, and the end of a connection.

https://socket.io/docs/v4/socket-io-protocol/
"""

from __future__ import annotations

import json
import time

import pytest

from tests.conformance.http_client import UNKNOWN_SID, Server
from tests.conformance.polling_client import Polling
from tests.conformance.websocket_client import Closed, WebSocket

PATH = "/socket.io/"

# Packets that close a connection: before a CONNECT, and after one.
MALFORMED_BEFORE_CONNECT: list[str | bytes] = [
    "4abc",
    "4",
    "49",
    "40[]",
    '40"x"',
    "40{",
    "40/custom,[]",
    '42["message",1]',
    "41",
    "431[]",
    '44{"message":"x"}',
    '451-["message"]',
    b"\x01",
]
MALFORMED: list[str | bytes] = [
    "4abc",
    "4",
    "47",
    "42{}",
    "42[]",
    "42[{}]",
    "42[null]",
    '42"message"',
    '42["message"',
    '42abc["message-with-ack",1]',
    '42-1["message-with-ack",1]',
    '42["connect"]',
    '42["disconnect"]',
    "431{}",
    '41{"a":1}',
    "40",
    '44{"message":"x"}',
    '42/custom,["message",1]',
    '42/random,["message",1]',
    '45["message"]',
    '450-["message"]',
    '45x-["message"]',
    '4511-["message"]',
    b"\x01",
]


def _connect(server: Server, namespace: str = "/") -> WebSocket:
    """A connection with one namespace joined."""
    socket = WebSocket(server, PATH)
    _join(socket, namespace)
    return socket


def _join(socket: WebSocket, namespace: str = "/", auth: str = "") -> str:
    """Join and return the id; the application then sends `auth` back."""
    prefix = "" if namespace == "/" else f"{namespace},"
    socket.send(f"40{prefix}{auth}")
    answer = socket.packet()
    assert isinstance(answer, str), answer
    assert answer.startswith(f"40{prefix}{{"), answer
    joined = json.loads(answer.removeprefix(f"40{prefix}"))
    assert list(joined) == ["sid"]
    assert socket.packet() == f'42{prefix}["auth",{auth or "{}"}]'
    return str(joined["sid"])


class TestConnect:
    @pytest.mark.parametrize("namespace", ["/", "/custom"])
    @pytest.mark.parametrize("auth", ["", '{"token":"123"}'])
    def test_connect(self, server: Server, namespace: str, auth: str) -> None:
        with WebSocket(server, PATH) as socket:
            assert len(_join(socket, namespace, auth)) >= 16

    def test_comma_may_be_left_out(self, server: Server) -> None:
        with WebSocket(server, PATH) as socket:
            socket.send("40/custom")
            answer = socket.packet()
            assert isinstance(answer, str)
            assert answer.startswith('40/custom,{"sid":"')

    def test_every_namespace_has_an_id_of_its_own(self, server: Server) -> None:
        with WebSocket(server, PATH) as socket:
            assert len({socket.opened["sid"], _join(socket), _join(socket, "/custom")}) == 3

    def test_polling(self, server: Server) -> None:
        session = Polling(server, PATH)
        assert session.post('40{"token":"123"}').body == b"ok"
        connected, auth = session.collect(2)
        assert connected.startswith('40{"sid":"')
        assert auth == '42["auth",{"token":"123"}]'

    @pytest.mark.parametrize("packet", ["40/random", "40/random,", '40/random,{"token":"123"}'])
    def test_unknown_namespace(self, server: Server, packet: str) -> None:
        with WebSocket(server, PATH) as socket:
            socket.send(packet)
            assert socket.packet() == '44/random,{"message":"Invalid namespace"}'
            _join(socket)

    def test_nobody_joins_in_time(self, server: Server) -> None:
        started = time.monotonic()
        with WebSocket(server, PATH) as socket:
            socket.closed()
            assert time.monotonic() - started > 0.9

    def test_refused_namespace_is_not_joined(self, server: Server) -> None:
        with WebSocket(server, PATH) as socket:
            socket.send("40/random")
            assert socket.packet() == '44/random,{"message":"Invalid namespace"}'
            socket.closed()

    def test_nobody_joins_in_time_over_polling(self, server: Server) -> None:
        session = Polling(server, PATH)
        with WebSocket(server, PATH) as later:
            later.closed()
        # Node answers later polls with the waiting packets, and forgets the session then.
        assert any(session.get().error == UNKNOWN_SID for _ in range(3))

    @pytest.mark.parametrize("namespace", ["/", "/custom"])
    def test_who_has_joined_may_stay(self, server: Server, namespace: str) -> None:
        with _connect(server, namespace) as socket:
            for _ in range(3):
                assert socket.receive() == "2"
                socket.send("3")

    @pytest.mark.parametrize("packet", MALFORMED_BEFORE_CONNECT)
    def test_anything_else_closes(self, server: Server, packet: str | bytes) -> None:
        with WebSocket(server, PATH) as socket:
            socket.send(packet)
            socket.closed()


class TestDisconnect:
    def test_engine_stays_open(self, server: Server) -> None:
        with _connect(server) as socket:
            socket.send("41")
            assert socket.receive() == "2"

    def test_connect_again(self, server: Server) -> None:
        with WebSocket(server, PATH) as socket:
            first = _join(socket)
            socket.send("41")
            assert _join(socket) != first
            socket.send('42["message",1]')
            assert socket.packet() == '42["message-back",1]'

    def test_other_namespaces_stay(self, server: Server) -> None:
        with _connect(server) as socket:
            _join(socket, "/custom")
            socket.send("41/custom,", '42["message","main"]')
            assert socket.packet() == '42["message-back","main"]'

    @pytest.mark.parametrize("packet", ['42["message",1]', "41", "431[]"])
    def test_packet_for_a_namespace_left_closes(self, server: Server, packet: str) -> None:
        with _connect(server) as socket:
            socket.send("41")
            _join(socket, "/custom")  # by then the server has read what came before
            socket.send(packet)
            socket.closed()

    def test_over_polling(self, server: Server) -> None:
        session = Polling(server, PATH)
        session.post("40\x1e40/custom,")
        session.collect(4)
        session.post('41/custom,\x1e42["message","main"]')
        assert session.collect(1) == ['42["message-back","main"]']


class TestEvents:
    @pytest.mark.parametrize(
        "arguments",
        ["", ',1,"2",{"3":[true]}', ",null", ",[]", ',"grüße € \U0001f4c8"', ',{"a":{"b":[1.5,-2,false,null]}}', ',"' + "x" * 70_000 + '"'],
        ids=["none", "several", "null", "list", "unicode", "nested", "long"],
    )
    def test_arguments_come_back(self, server: Server, arguments: str) -> None:
        with _connect(server) as socket:
            socket.send(f'42["message"{arguments}]')
            assert socket.packet() == f'42["message-back"{arguments}]'

    def test_order(self, server: Server) -> None:
        with _connect(server) as socket:
            socket.send(*[f'42["message",{number}]' for number in range(200)])
            assert socket.packets(200) == [f'42["message-back",{number}]' for number in range(200)]

    @pytest.mark.parametrize("number", [0, 1, 456, 2**31])
    def test_ack(self, server: Server, number: int) -> None:
        with _connect(server) as socket:
            socket.send(f'42{number}["message-with-ack",1,"2",{{"3":[false]}}]')
            assert socket.packet() == f'43{number}[1,"2",{{"3":[false]}}]'

    def test_ack_without_arguments(self, server: Server) -> None:
        with _connect(server) as socket:
            socket.send('427["message-with-ack"]')
            assert socket.packet() == "437[]"

    def test_event_nobody_handles_is_ignored(self, server: Server) -> None:
        with _connect(server) as socket:
            socket.send('42["unheard of",1]', '42["message",2]')
            assert socket.packet() == '42["message-back",2]'

    def test_ack_nobody_awaits_is_ignored(self, server: Server) -> None:
        with _connect(server) as socket:
            socket.send("43999[1]", '42["message",2]')
            assert socket.packet() == '42["message-back",2]'

    def test_namespaces_do_not_mix(self, server: Server) -> None:
        with _connect(server, "/custom") as socket:
            _join(socket)
            socket.send('42/custom,["message",1]', '42["message",2]')
            assert socket.packet() == '42["message-back",2]'


class TestAttachments:
    def test_event(self, server: Server) -> None:
        with _connect(server) as socket:
            socket.send(f'452-["message",{_place(0)},{_place(1)}]', b"\x01\x02\x03", b"\x04\x05\x06")
            assert socket.packets(3) == [f'452-["message-back",{_place(0)},{_place(1)}]', b"\x01\x02\x03", b"\x04\x05\x06"]

    def test_ack(self, server: Server) -> None:
        with _connect(server) as socket:
            socket.send(f'452-789["message-with-ack",{_place(0)},{_place(1)}]', b"\x01\x02\x03", b"\x04\x05\x06")
            assert socket.packets(3) == [f"462-789[{_place(0)},{_place(1)}]", b"\x01\x02\x03", b"\x04\x05\x06"]

    def test_nested_and_out_of_order(self, server: Server) -> None:
        with _connect(server) as socket:
            socket.send(f'453-["message",{{"a":{_place(2)},"b":[{_place(0)}]}},{_place(1)}]', b"first", b"second", b"third")
            header, *attachments = socket.packets(4)
            assert header == f'453-["message-back",{{"a":{_place(0)},"b":[{_place(1)}]}},{_place(2)}]'
            assert attachments == [b"third", b"first", b"second"]

    def test_empty_and_large(self, server: Server) -> None:
        with _connect(server) as socket:
            socket.send(f'452-["message",{_place(0)},{_place(1)}]', b"", b"\xff" * 100_000)
            assert socket.packets(3)[1:] == [b"", b"\xff" * 100_000]

    def test_over_polling(self, server: Server) -> None:
        session = Polling(server, PATH)
        session.post("40")
        session.collect(2)
        session.post(f'452-5["message-with-ack",{_place(0)},{_place(1)}]\x1ebAQID\x1ebBAUG')
        assert session.collect(3) == [f"462-5[{_place(0)},{_place(1)}]", "bAQID", "bBAUG"]

    def test_over_two_requests(self, server: Server) -> None:
        session = Polling(server, PATH)
        session.post("40")
        session.collect(2)
        session.post(f'452-["message",{_place(0)},{_place(1)}]\x1ebAQID')
        session.post("bBAUG")
        assert session.collect(3) == [f'452-["message-back",{_place(0)},{_place(1)}]', "bAQID", "bBAUG"]


class TestInvalidPackets:
    @pytest.mark.parametrize("packet", MALFORMED)
    def test_closes(self, server: Server, packet: str | bytes) -> None:
        with _connect(server) as socket:
            socket.send(packet)
            socket.closed()

    def test_text_where_an_attachment_is_due_closes(self, server: Server) -> None:
        with _connect(server) as socket:
            socket.send(f'452-["message",{_place(0)},{_place(1)}]', b"\x01", '42["message",1]')
            socket.closed()

    def test_placeholder_of_no_attachment_closes(self, server: Server) -> None:
        with _connect(server) as socket:
            socket.send(f'451-["message",{_place(1)}]', b"\x01")
            socket.closed()

    def test_attachments_too_many_closes(self, server: Server) -> None:
        with _connect(server) as socket:
            socket.send(f'451-["message",{_place(0)}]', b"\x01")
            assert socket.packets(2) == [f'451-["message-back",{_place(0)}]', b"\x01"]
            socket.send(b"\x02")
            socket.closed()

    def test_ends_a_polling_session(self, server: Server) -> None:
        session = Polling(server, PATH)
        session.post("40")
        session.collect(2)
        session.post("42{}")
        assert any(session.get().error == UNKNOWN_SID for _ in range(3))

    def test_nobody_else_is_affected(self, server: Server) -> None:
        with _connect(server) as good, _connect(server) as bad:
            bad.send("42{}")
            with pytest.raises(Closed):
                bad.packet()
            good.send('42["message",1]')
            assert good.packet() == '42["message-back",1]'


def _place(number: int) -> str:
    return f'{{"_placeholder":true,"num":{number}}}'
