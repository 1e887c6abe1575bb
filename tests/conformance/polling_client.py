"""An Engine.IO session over long-polling, and on its way to a WebSocket."""

from __future__ import annotations

import json
from typing import Any

from tests.conformance.http_client import Answer, Pending, Server
from tests.conformance.websocket_client import WebSocket


class Polling:
    """An Engine.IO session over long-polling."""

    def __init__(self, server: Server, path: str = "/engine.io/", headers: dict[str, str] | None = None) -> None:
        self.server = server
        self._path = path
        answer = server.request("GET", f"{path}?EIO=4&transport=polling", headers=headers)
        assert answer.status == 200, answer
        assert answer.body[:1] == b"0", answer
        self.opened: dict[str, Any] = json.loads(answer.body[1:])
        self.sid: str = self.opened["sid"]
        self.target = f"{path}?EIO=4&transport=polling&sid={self.sid}"

    def get(self) -> Answer:
        return self.server.request("GET", self.target)

    def post(self, body: str | bytes, headers: dict[str, str] | None = None) -> Answer:
        return self.server.request("POST", self.target, body, headers)

    def poll(self) -> Pending:
        """A GET that has reached the server and waits there."""
        pending = Pending(self.server, "GET", self.target)
        # A round trip behind it: what was sent before has been read by then.
        self.server.request("GET", f"{self._path}?EIO=4&transport=polling&sid=unknown")
        return pending

    def packets(self) -> list[str]:
        """What one poll carries."""
        answer = self.get()
        assert answer.status == 200, answer
        return answer.body.decode().split("\x1e")

    def collect(self, count: int) -> list[str]:
        """`count` packets over as many polls as it takes; pings are answered."""
        collected: list[str] = []
        while len(collected) < count:
            for packet in self.packets():
                if packet == "2":
                    assert self.post("3").body == b"ok"
                else:
                    collected.append(packet)
        return collected

    def lives(self) -> bool:
        """Whether the session is still known, and echoes."""
        self.post("4alive")
        answer = self.get()
        assert answer.status == 400 or b"4alive" in answer.body, answer
        return answer.status == 200

    def upgrade(self) -> WebSocket:
        """A second transport for this session, not yet probed."""
        return WebSocket(self.server, self._path, sid=self.sid, opened=False)

    def probe(self) -> WebSocket:
        """A second transport that has been probed; `5` makes it the session's."""
        second = self.upgrade()
        second.send("2probe")
        assert second.receive() == "3probe"
        return second
