"""The start of an Engine.IO session, and refused requests.

https://socket.io/docs/v4/engine-io-protocol/

`CONFORMANCE_URL` points all these tests at another server. Stock Socket.IO on Node fails five of
them: it accepts a WebSocket of another version, upgrades a WebSocket to another one, and ignores a
close packet on a WebSocket.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.http_client import BAD_METHOD, BAD_REQUEST, UNKNOWN_SID, UNKNOWN_TRANSPORT, UNSUPPORTED, Server
from tests.conformance.polling_client import Polling
from tests.conformance.websocket_client import Refused, WebSocket

FIELDS = {"sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"}


def _check_opened(opened: dict[str, Any], upgrades: list[str]) -> None:
    assert set(opened) == FIELDS
    assert isinstance(opened["sid"], str)
    assert len(opened["sid"]) >= 16
    assert opened["upgrades"] == upgrades
    assert (opened["pingInterval"], opened["pingTimeout"], opened["maxPayload"]) == (1000, 1000, 1_000_000)


class TestHandshake:
    def test_polling(self, server: Server) -> None:
        _check_opened(Polling(server).opened, ["websocket"])

    def test_polling_headers(self, server: Server) -> None:
        answer = server.request("GET", "/engine.io/?EIO=4&transport=polling")
        assert answer.headers["content-type"] == "text/plain; charset=UTF-8"
        assert answer.headers["cache-control"] == "no-store"

    def test_websocket(self, server: Server) -> None:
        with WebSocket(server) as socket:
            _check_opened(socket.opened, [])

    def test_every_session_has_an_id_of_its_own(self, server: Server) -> None:
        assert len({Polling(server).sid for _ in range(10)}) == 10

    @pytest.mark.parametrize("query", ["", "EIO=4", "EIO=4&transport=abc", "EIO=4&transport="])
    def test_unknown_transport(self, server: Server, query: str) -> None:
        assert server.request("GET", f"/engine.io/?{query}").error == UNKNOWN_TRANSPORT
        with pytest.raises(Refused) as refused:
            WebSocket(server, query=query or "b64=1")
        assert refused.value.answer.status == 400

    @pytest.mark.parametrize("version", ["", "EIO=&", "EIO=abc&", "EIO=3&", "EIO=5&", "EIO=44&"])
    def test_unsupported_version(self, server: Server, version: str) -> None:
        assert server.request("GET", f"/engine.io/?{version}transport=polling").error == UNSUPPORTED

    @pytest.mark.parametrize("version", ["", "EIO=abc&", "EIO=3&"])
    def test_unsupported_version_over_websocket(self, server: Server, version: str) -> None:
        # Node accepts the WebSocket and then writes an HTTP answer into it.
        with pytest.raises(Refused) as refused:
            WebSocket(server, query=f"{version}transport=websocket")
        assert refused.value.answer.status == 400

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
    def test_handshake_is_a_get(self, server: Server, method: str) -> None:
        assert server.request(method, "/engine.io/?EIO=4&transport=polling").error == BAD_METHOD

    def test_websocket_transport_without_an_upgrade(self, server: Server) -> None:
        assert server.request("GET", "/engine.io/?EIO=4&transport=websocket").error == BAD_REQUEST

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_unknown_session(self, server: Server, method: str) -> None:
        assert server.request(method, "/engine.io/?EIO=4&transport=polling&sid=unknown", "4x").error == UNKNOWN_SID

    def test_unknown_session_over_websocket(self, server: Server) -> None:
        with pytest.raises(Refused) as refused:
            WebSocket(server, sid="unknown")
        assert refused.value.answer.status == 400


class TestRequestsOfASession:
    def test_another_transport(self, server: Server) -> None:
        session = Polling(server)
        assert server.request("GET", f"/engine.io/?EIO=4&transport=abc&sid={session.sid}").error == UNKNOWN_TRANSPORT
        assert server.request("GET", f"/engine.io/?EIO=4&transport=websocket&sid={session.sid}").error == BAD_REQUEST
        assert session.lives()

    def test_another_version(self, server: Server) -> None:
        session = Polling(server)
        assert server.request("GET", f"/engine.io/?EIO=3&transport=polling&sid={session.sid}").error == BAD_REQUEST
        assert session.lives()

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
    def test_other_methods(self, server: Server, method: str) -> None:
        session = Polling(server)
        assert server.request(method, session.target).status in (400, 500)  # Node: 500
        assert session.lives()

    def test_polling_requests_of_a_websocket_session(self, server: Server) -> None:
        with WebSocket(server) as socket:
            target = f"/engine.io/?EIO=4&transport=polling&sid={socket.opened['sid']}"
            assert server.request("GET", target).error == BAD_REQUEST
            assert server.request("POST", target, "4x").error == BAD_REQUEST
            socket.send("4hello")
            assert socket.packet() == "4hello"

    def test_second_websocket_of_a_websocket_session(self, server: Server) -> None:
        with WebSocket(server) as socket, WebSocket(server, sid=socket.opened["sid"], opened=False) as second:
            second.closed()
            socket.send("4hello")
            assert socket.packet() == "4hello"
