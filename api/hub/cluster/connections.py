"""The connections of the hub as its drain sees them: sessions of Engine.IO and plain WebSockets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import orjson

from api.errors import ErrorCode, Refusal, error_body
from api.hub.fanout import Fanout
from api.hub.plain.layer import PlainLayer
from api.hub.transport.engineio_server import EngineServer
from api.hub.transport.plain_socket import PlainSocket
from api.hub.transport.session import NOOP, Session

_MESSAGE = "The server restarts; please reconnect."
Connection = Session | PlainSocket


class Manager(Protocol):
    """The part of Socket.IO's manager that a drain needs."""

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:
        """Return the client of a session in a namespace."""


class HubConnections:
    """All open connections. `busy()` is true while a report of a bot has no answer yet.

    `reporting` is the namespace of the reports. A client of it leaves after its answers.
    """

    def __init__(
        self,
        engine: EngineServer,
        manager: Manager,
        fanouts: Mapping[str, Fanout],
        plain: PlainLayer,
        busy: Callable[[], bool],
        reporting: str,
    ) -> None:
        self._engine = engine
        self._manager = manager
        self._fanouts = fanouts
        self._plain = plain
        self._busy = busy
        self._reporting = reporting

    def open(self) -> Sequence[Connection]:
        """Return the open connections."""
        return [*self._engine.sockets.values(), *self._plain.sockets()]

    def warn(self, connection: Connection, retry_after: float) -> None:
        """Send the error `unavailable`, to each namespace of a session.

        A plain WebSocket is closed by it: its last bytes and its Close frame follow by themselves.
        """
        details = {"retry_after": retry_after}
        if isinstance(connection, PlainSocket):
            self._plain.dismiss(connection, Refusal(ErrorCode.UNAVAILABLE, _MESSAGE, details))
            return
        body = orjson.dumps(error_body(ErrorCode.UNAVAILABLE, _MESSAGE, "disconnect", details))
        for namespace, fanout in self._fanouts.items():
            if (client := self._manager.sid_from_eio_sid(connection.sid, namespace)) is not None:
                fanout.send_pending()
                fanout.emit(client, "error", body)

    def is_flushed(self, connection: Connection) -> bool:
        """Return True if nothing waits for the client."""
        if isinstance(connection, PlainSocket) or connection.closed:
            return True
        waits = self._busy() and self._manager.sid_from_eio_sid(connection.sid, self._reporting) is not None
        return connection.outbox.idle and not waits

    def close(self, connection: Connection) -> None:
        """Close a session without a CLOSE packet, so that its client reconnects."""
        if isinstance(connection, Session):
            connection.close(self._engine.reason.SERVER_DISCONNECT, answer=NOOP)
