"""Clients of plain WebSockets on that of the protocol tests, and snapshots of the bus."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import orjson

from db.bus.observability.snapshots import SECTIONS, Snapshot
from tests.conformance.http_client import SECONDS, Server
from tests.conformance.websocket_client import BINARY, PING, PONG, Closed, WebSocket, frame

ROUTE, BOOKS = "/ws/metrics", "/ws"


class Plain(WebSocket):
    """A client that answers each Ping of the server, unless `answering` is False."""

    route = ROUTE
    pushed = frozenset({"metrics_update"})  # types of frames that answer no request

    def __init__(self, port: int, query: str = "", headers: Mapping[str, str] | None = None) -> None:
        self.pings = 0
        self.answering = True
        super().__init__(Server("127.0.0.1", port), self.route, query=query, opened=False, headers=dict(headers or {}))

    def receive(self, seconds: float = SECONDS) -> str:
        """Return the next message. Raises `Closed`, or `TimeoutError` after `seconds`."""
        message = super().receive(seconds)
        assert isinstance(message, str), "a binary message from the server"
        return message

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode != PING:
            super()._control(opcode, payload)
            return
        self.pings += 1
        if self.answering:
            self.send_bytes(frame(PONG, payload))

    def body(self, seconds: float = SECONDS) -> dict[str, Any]:
        """Return the next JSON frame."""
        body = json.loads(self.receive(seconds))
        assert isinstance(body, dict)
        return body

    def ask(self, text: str | dict[str, Any]) -> dict[str, Any]:
        """Send a frame and return the next JSON frame that is not a snapshot."""
        self.send(text if isinstance(text, str) else json.dumps(text))
        return self.next_but_snapshots()

    def next_but_snapshots(self) -> dict[str, Any]:
        while (body := self.body())["type"] in self.pushed:
            pass
        return body

    def code(self, text: str | dict[str, Any]) -> str:
        """Send a frame and return the code of the error that answers it."""
        body = self.ask(text)
        assert body["type"] == "error", body
        assert set(body["error"]) == {"code", "message", "details"}
        return str(body["error"]["code"])

    def closed_with(self, seconds: float = SECONDS) -> int | None:
        """Wait until the server closes, whatever comes before; return the code."""
        deadline = time.monotonic() + seconds
        try:
            while True:
                self.receive(deadline - time.monotonic())
        except Closed as closed:
            return closed.code

    def next_of(self, kind: str) -> dict[str, Any]:
        """Return the next frame of this type; others are skipped."""
        while (body := self.body())["type"] != kind:
            pass
        return body

    def send_binary(self, data: bytes) -> None:
        self.send_bytes(frame(BINARY, data))


class Books(Plain):
    """A client of `/ws`."""

    route = BOOKS
    pushed = frozenset({"orderbook", "heartbeat", "status", "alert"})

    def data(self, kind: str, seconds: float = SECONDS, **expected: Any) -> dict[str, Any]:
        """Return `data` of the next frame of this type with these values; others are skipped."""
        deadline = time.monotonic() + seconds
        while (body := self.body(deadline - time.monotonic()))["type"] != kind or not expected.items() <= body["data"].items():
            pass
        assert list(body) == ["type", "timestamp", "data"]
        return dict(body["data"])


def snapshot(seq: int, *, epoch: str = "e1", padding: int = 0) -> Snapshot:
    """Return a snapshot whose section `market_data` has the price 1.09450, exactly."""
    symbols = '{"symbols":{"EUR_USD":{"last_price":%s}},"padding":"' + "x" * padding + '"}'
    numbers = dict.fromkeys(SECTIONS, "{}") | {
        "market_data": symbols.replace("%s", "1.09450"),
        "system": orjson.dumps({"seq": seq}).decode(),
    }
    strings = numbers | {"market_data": symbols.replace("%s", '"1.09450"')}
    return Snapshot("2025-11-18T12:34:56.789123Z", seq, epoch, numbers, strings)
