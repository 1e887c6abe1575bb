"""The upgrade from long-polling to WebSocket (`2probe`, `3probe`, a noop, `5`) and its failures."""

from __future__ import annotations

import pytest

from tests.conformance.http_client import BAD_REQUEST, UNKNOWN_SID, Server
from tests.conformance.polling_client import Polling
from tests.conftest import until


def test_upgrade(server: Server) -> None:
    session = Polling(server)
    with session.probe() as socket:
        assert session.packets() == ["6"]
        socket.send("5", "4hello")
        assert socket.packet() == "4hello"


def test_waiting_poll_is_freed(server: Server) -> None:
    session = Polling(server)
    with session.poll() as pending, session.probe() as socket:
        assert pending.answer().body == b"6"
        socket.send("5", "4hello")
        assert socket.packet() == "4hello"


def test_messages_during_the_upgrade_arrive_once_and_in_order(server: Server) -> None:
    session = Polling(server)
    session.post("4before")
    with session.probe() as socket:
        session.post("4during\x1ebAQID")
        over_polling = [packet for packet in session.packets() if packet != "6"]
        assert session.post("4late").body == b"ok"
        socket.send("5", "4after")
        expected = ["4before", "4during", "bAQID", "4late", "4after"][len(over_polling) :]
        received = ["bAQID" if item == b"\x01\x02\x03" else item for item in socket.packets(len(expected))]
        assert over_polling + received == ["4before", "4during", "bAQID", "4late", "4after"]


def test_messages_nobody_polled_for_go_over_the_websocket(server: Server) -> None:
    session = Polling(server)
    session.post("4one")
    with session.probe() as socket:
        session.post("4two")
        socket.send("5")
        assert socket.packets(2) == ["4one", "4two"]


def test_heartbeat_goes_on(server: Server) -> None:
    with Polling(server).probe() as socket:
        socket.send("5")
        for _ in range(3):
            assert socket.receive() == "2"
            socket.send("3")


def test_http_requests_are_refused_afterwards(server: Server) -> None:
    session = Polling(server)
    with session.probe() as socket:
        socket.send("5", "4hello")
        assert socket.packet() == "4hello"
        assert session.get().error == BAD_REQUEST
        assert session.post("4x").error == BAD_REQUEST
        socket.send("4again")
        assert socket.packet() == "4again"


def test_http_request_right_behind_the_upgrade_packet(server: Server) -> None:
    session = Polling(server)
    with session.probe() as socket:
        socket.send("5")
        assert session.get().status == 400
        socket.send("4hello")
        assert socket.packet() == "4hello"


def test_second_websocket_is_closed_afterwards(server: Server) -> None:
    session = Polling(server)
    with session.probe() as socket:
        socket.send("5")
        with session.upgrade() as second:
            second.closed()
        socket.send("4hello")
        assert socket.packet() == "4hello"


def test_second_websocket_is_closed_during_the_upgrade(server: Server) -> None:
    session = Polling(server)
    with session.probe() as socket:
        with session.upgrade() as second:
            second.closed()
        socket.send("5", "4hello")
        assert socket.packet() == "4hello"


@pytest.mark.parametrize("packet", ["4hello", "2", "2hello", "abc", "3probe", b"2probe"])
def test_websocket_that_does_not_probe_is_closed(server: Server, packet: str | bytes) -> None:
    session = Polling(server)
    with session.upgrade() as socket:
        socket.send(packet)
        socket.closed()
    assert session.lives()


def test_abandoned_upgrade_leaves_the_session_polling(server: Server) -> None:
    session = Polling(server)
    with session.probe() as socket:
        assert session.packets() == ["6"]
        socket.end()
    session.post("4hello")
    assert session.packets() == ["4hello"]
    with session.probe() as socket:
        socket.send("5", "4at last")
        assert socket.packet() == "4at last"


def test_message_instead_of_the_upgrade_packet(server: Server) -> None:
    session = Polling(server)
    with session.probe() as socket:
        socket.send("4hello")
        socket.closed()
    assert session.lives()


def test_late_upgrade_packet_is_ignored(server: Server) -> None:
    with Polling(server).probe() as socket:
        socket.send("5", "5", "4hello")
        assert socket.packet() == "4hello"


def test_late_probe_closes(server: Server) -> None:
    with Polling(server).probe() as socket:
        socket.send("5", "2probe")
        socket.closed()


def test_session_that_ends_takes_the_probe_with_it(server: Server) -> None:
    session = Polling(server)
    with session.probe() as socket:
        session.post("1")
        socket.closed()


def test_upgraded_session_ends_with_its_websocket(server: Server) -> None:
    session = Polling(server)
    with session.probe() as socket:
        socket.send("5", "4hello")
        assert socket.packet() == "4hello"
        socket.end()
    until(lambda: session.get().error == UNKNOWN_SID)
