"""Engine.IO v4 over both transports: messages, heartbeat, close.

https://socket.io/docs/v4/engine-io-protocol/
"""

from __future__ import annotations

import time

import pytest

from tests.conformance.http_client import UNKNOWN_SID, Pending, Server
from tests.conformance.polling_client import Polling
from tests.conformance.websocket_client import Closed, WebSocket, frame
from tests.conftest import until


class TestPolling:
    @pytest.mark.parametrize(
        "payload",
        ["4hello", "4", "4one\x1e4two\x1e4three", "4hello\x1ebAQIDBA==", "bAQID\x1ebBAUG", "4grüße €\U0001f4c8", "4" + "x" * 100_000],
        ids=["one", "empty", "several", "mixed", "binary", "unicode", "long"],
    )
    def test_what_is_posted_comes_back(self, server: Server, payload: str) -> None:
        session = Polling(server)
        answer = session.post(payload)
        assert (answer.status, answer.body) == (200, b"ok")
        assert answer.headers["content-type"].startswith("text/html")
        assert session.collect(payload.count("\x1e") + 1) == payload.split("\x1e")

    def test_packets_that_wait_go_out_in_one_payload(self, server: Server) -> None:
        session = Polling(server)
        for number in range(5):
            session.post(f"4{number}")
        assert session.packets() == ["40", "41", "42", "43", "44"]

    def test_waiting_poll_is_answered_at_once(self, server: Server) -> None:
        session = Polling(server)
        with session.poll() as pending:
            assert pending.waits()
            session.post("4now")
            assert pending.answer().body == b"4now"

    @pytest.mark.parametrize("body", ["abc", "", "4fine\x1eabc", "7", "9", "2", "\x1e", "4\x1e"])
    def test_malformed_payload_ends_the_session(self, server: Server, body: str) -> None:
        session = Polling(server)
        assert session.post(body).status in (200, 400)  # Node: 200
        assert session.get().error == UNKNOWN_SID

    def test_malformed_payload_ends_the_waiting_poll(self, server: Server) -> None:
        session = Polling(server)
        with session.poll() as pending:
            session.post("abc")
            assert pending.answer().body in (b"1", b"6")
        assert session.get().error == UNKNOWN_SID

    def test_payload_too_large(self, server: Server) -> None:
        session = Polling(server)
        assert session.post("4" * 1_000_001).status == 413
        assert Polling(server).lives()

    def test_second_poll_ends_the_session(self, server: Server) -> None:
        session = Polling(server)
        with session.poll() as first:
            second = session.get()
            answer = first.answer()
            assert (answer.status, answer.body) == (200, b"1")
            assert second.status == 400
        assert session.get().error == UNKNOWN_SID

    def test_abandoned_poll_ends_the_session(self, server: Server) -> None:
        session = Polling(server)
        session.poll().abandon()
        assert session.get().status == 400
        assert session.get().error == UNKNOWN_SID

    def test_one_connection_serves_many_requests(self, server: Server) -> None:
        session = Polling(server)
        with Pending(server, "POST", session.target, "4a") as pending:
            assert pending.answer().body == b"ok"
            for number in range(20):
                pending._connection.request("POST", session.target, f"4{number}")
                assert pending.answer().body == b"ok"
                pending._connection.request("GET", session.target)
                assert pending.answer().body.endswith(b"4%d" % number)


class TestWebSocket:
    @pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 999_999])
    def test_text_and_binary_come_back(self, server: Server, size: int) -> None:
        with WebSocket(server) as socket:
            socket.send("4" + "x" * size)
            assert socket.packet() == "4" + "x" * size
            socket.send(b"\x00\xff" * (size // 2))
            assert socket.packet() == b"\x00\xff" * (size // 2)

    def test_order(self, server: Server) -> None:
        with WebSocket(server) as socket:
            socket.send(*[f"4{number}" for number in range(500)])
            assert socket.packets(500) == [f"4{number}" for number in range(500)]

    @pytest.mark.parametrize("packet", ["abc", "7", "9x", "", "2", "2probe"])
    def test_unknown_packet_closes(self, server: Server, packet: str) -> None:
        with WebSocket(server) as socket:
            socket.send(packet)
            socket.closed()

    @pytest.mark.parametrize("packet", ["5", "6", "3"])
    def test_packets_that_mean_nothing_here_are_ignored(self, server: Server, packet: str) -> None:
        with WebSocket(server) as socket:
            socket.send(packet, "4hello")
            assert socket.packet() == "4hello"

    def test_message_beyond_max_payload_closes(self, server: Server) -> None:
        with WebSocket(server) as socket:
            # The server decides by the length alone.
            socket.send_bytes(frame(1, b"4" + b"x" * 1_000_000)[:1000])
            assert socket.closed() == 1009

    def test_only_the_one_who_breaks_the_protocol_is_closed(self, server: Server) -> None:
        with WebSocket(server) as good, WebSocket(server) as bad:
            bad.send("abc")
            bad.closed()
            good.send("4hello")
            assert good.packet() == "4hello"


class TestHeartbeat:
    def test_polling(self, server: Server) -> None:
        session = Polling(server)
        for _ in range(3):
            assert session.packets() == ["2"]
            assert session.post("3").status == 200

    def test_websocket(self, server: Server) -> None:
        with WebSocket(server) as socket:
            for _ in range(3):
                assert socket.receive() == "2"
                socket.send("3")

    def test_silent_websocket_is_closed(self, server: Server) -> None:
        started = time.monotonic()
        with WebSocket(server) as socket:
            assert socket.receive() == "2"
            assert time.monotonic() - started > 0.9
            with pytest.raises(Closed):
                socket.receive()
            assert time.monotonic() - started > 1.8

    def test_silent_polling_session_is_forgotten(self, server: Server) -> None:
        session = Polling(server)
        # A later session, whose end the test observes.
        with WebSocket(server) as later:
            later.receive()
            with pytest.raises(Closed):
                later.receive()
        assert session.get().error == UNKNOWN_SID

    def test_poll_that_waits_when_time_is_up(self, server: Server) -> None:
        session = Polling(server)
        assert session.packets() == ["2"]
        assert session.packets() == ["1"]
        assert session.get().error == UNKNOWN_SID


class TestClose:
    def test_polling(self, server: Server) -> None:
        session = Polling(server)
        with session.poll() as pending:
            assert session.post("1").body == b"ok"
            answer = pending.answer()
            assert (answer.status, answer.body) == (200, b"6")
        assert session.get().error == UNKNOWN_SID
        assert session.post("4x").error == UNKNOWN_SID

    def test_polling_what_follows_is_not_read(self, server: Server) -> None:
        session = Polling(server)
        assert session.post("4a\x1e1\x1e4b").body == b"ok"
        assert session.get().error == UNKNOWN_SID

    def test_websocket(self, server: Server) -> None:
        # Node ignores the packet, and closes only if its pings stay unanswered.
        with WebSocket(server) as socket:
            socket.send("1")
            socket.closed()

    def test_websocket_by_its_own_close_frame(self, server: Server) -> None:
        with WebSocket(server) as socket:
            socket.end()
            target = f"/engine.io/?EIO=4&transport=polling&sid={socket.opened['sid']}"
        until(lambda: server.request("GET", target).error == UNKNOWN_SID)
