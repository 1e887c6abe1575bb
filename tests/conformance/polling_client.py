"""An Engine.IO session over long-polling, and its upgrade to a WebSocket."""

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
        """Send a GET that waits at the server."""
        pending = Pending(self.server, "GET", self.target)
        # After this round trip, the server has read everything that was sent before.
        self.server.request("GET", f"{self._path}?EIO=4&transport=polling&sid=unknown")
        return pending

    def packets(self) -> list[str]:
        """Return the packets of one poll."""
        answer = self.get()
        assert answer.status == 200, answer
        return answer.body.decode().split("\x1e")

    def collect(self, count: int) -> list[str]:
        """Return `count` packets of as many polls as necessary; answer pings."""
        collected: list[str] = []
        while len(collected) < count:
            for packet in self.packets():
                if packet == "2":
                    assert self.post("3").body == b"ok"
                else:
                    collected.append(packet)
        return collected

    def lives(self) -> bool:
        """Return True if the session still exists and echoes."""
        self.post("4alive")
        answer = self.get()
        assert answer.status == 400 or b"4alive" in answer.body, answer
        return answer.status == 200

    def upgrade(self) -> WebSocket:
        """Open a second transport of this session, without a probe."""
        return WebSocket(self.server, self._path, sid=self.sid, opened=False)

    def probe(self) -> WebSocket:
        """Open a second transport and probe it; the packet `5` completes the upgrade."""
        second = self.upgrade()
        second.send("2probe")
        assert second.receive() == "3probe"
        return second
