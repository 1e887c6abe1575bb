"""HTTP requests of every kind; a test waits for the answer or abandons it."""

from __future__ import annotations

import http.client
import json
import select
from dataclasses import dataclass
from types import TracebackType
from typing import Self

SECONDS = 60.0  # a deadline that only a broken server reaches

# Refusals of a request: status, code of Engine.IO and message.
UNKNOWN_TRANSPORT = (400, 0, "Transport unknown")
UNKNOWN_SID = (400, 1, "Session ID unknown")
BAD_METHOD = (400, 2, "Bad handshake method")
BAD_REQUEST = (400, 3, "Bad request")
UNSUPPORTED = (400, 5, "Unsupported protocol version")


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> tuple[int, int, str]:
        """Status, `code` and `message` of a refusal; (200, -1, "") if it is none."""
        if self.status == 200:
            return 200, -1, ""
        assert self.headers["content-type"] == "application/json"
        body = json.loads(self.body)
        assert {"code", "message"} <= set(body) <= {"code", "message", "error"}, body
        return self.status, body["code"], body["message"]


@dataclass(frozen=True, slots=True)
class Server:
    """The address of the server under test."""

    host: str
    port: int

    def request(self, method: str, target: str, body: str | bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        """Send one request over a connection of its own; return the answer."""
        with Pending(self, method, target, body, headers) as pending:
            return pending.answer()


class Pending:
    """A request whose answer is still due."""

    def __init__(
        self, server: Server, method: str, target: str, body: str | bytes | None = None, headers: dict[str, str] | None = None
    ) -> None:
        self._connection = http.client.HTTPConnection(server.host, server.port, timeout=SECONDS)
        self._connection.request(method, target, body.encode() if isinstance(body, str) else body, headers or {})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.abandon()

    def answer(self) -> Answer:
        response = self._connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())

    def waits(self) -> bool:
        """Return True if no byte of the answer has arrived."""
        return not select.select([self._connection.sock], [], [], 0)[0]

    def abandon(self) -> None:
        self._connection.close()
