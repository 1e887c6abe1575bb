"""Answers that are sent after the handler of their event has returned."""

from __future__ import annotations

from typing import Any

import orjson

from api.errors import ErrorCode, Refusal, error_body
from api.hub.clients import Client
from api.hub.transport.host import Later


class Deferred(Later):
    """The answer to one event: an event, and the ack with the same body if the client requests one.

    `send` or `refuse` is called once. Without its client, both do nothing.
    """

    __slots__ = ("_answer", "_client", "_event")

    def __init__(self, client: Client, event: str, answer: str) -> None:
        super().__init__()
        self._client = client
        self._event = event
        self._answer = answer

    def send(self, body: dict[str, Any]) -> None:
        """Send the answer."""
        self._reply(self._answer, body)

    def refuse(self, refusal: Refusal) -> None:
        """Send an `error`."""
        self._reply("error", error_body(refusal.code, str(refusal), self._event, refusal.details))

    def fail(self) -> None:
        """Send an `error` because of an error of ours."""
        self.refuse(Refusal(ErrorCode.INTERNAL, "Something went wrong on the server."))

    def _reply(self, name: str, body: dict[str, Any]) -> None:
        fanout, client = self._client.fanout, self._client.id
        if client in fanout:
            data = orjson.dumps(body)
            fanout.emit(client, name, data)
            self.acknowledge(data)
