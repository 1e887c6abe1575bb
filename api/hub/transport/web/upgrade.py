"""The WebSocket that may replace the polling of a session: `2probe`, `3probe`, `5`."""

from __future__ import annotations

from contextlib import suppress

from api.hub.transport import wire
from api.hub.transport.limits.bucket import Bucket
from api.hub.transport.session import NOOP, Session
from api.hub.transport.websocket import WebSocket
from api.hub.transport.wire import Opcode, WireError

_PROBE_ANSWER = wire.text(wire.PONG + b"probe")


class UpgradeProbe:
    """A WebSocket that may replace the polling of a session: `2probe`, `3probe`, `5`."""

    __slots__ = ("_probed", "_session", "_socket")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._socket: WebSocket | None = None
        self._probed = False

    @property
    def sid(self) -> str:
        """The id of the session."""
        return self._session.sid

    @property
    def bucket(self) -> Bucket:
        """The tokens of the session."""
        return self._session.bucket

    def begin(self, socket: WebSocket) -> None:
        """Set the WebSocket, before it reads anything. A session has one probe at a time."""
        self._socket = socket
        self._session.upgrading = self

    def message(self, data: bytes, binary: bool) -> None:
        socket, session = self._socket, self._session
        assert socket is not None  # noqa: S101 - begin() precedes every message
        session.unanswered()
        if session.closed or binary:
            raise WireError(1002, "no session to upgrade")
        if data == wire.PING + b"probe" and not self._probed:
            self._probed = True
            socket.send(_PROBE_ANSWER.wire)
            session.end_polling(NOOP)
        elif data == wire.UPGRADE and self._probed:
            socket.peer = session
            session.upgrading = None
            session.open_socket(socket)
        else:
            raise WireError(1002, "not a probe")

    def writable(self) -> None:
        return

    def pong(self, payload: bytes) -> None:
        self._session.unanswered()
        if self._socket is not None and self.bucket.paid:
            with suppress(OSError):  # the next read finds the lost connection too
                self._socket.send(wire.frame(Opcode.PONG, payload))

    def unanswered(self) -> None:
        self._session.unanswered()

    def ended(self, code: int | None) -> None:
        self.give_up(code)

    def give_up(self, code: int | None = 1000) -> None:
        """End an upgrade that has not happened: the session goes on polling."""
        if self._socket is not None and self._socket.peer is self:
            if code is None:
                self._socket.abort()
            else:
                self._socket.close(code)
            if self._session.upgrading is self:
                self._session.upgrading = None
                if not self._session.closed:
                    self._session.polling_answer = None
