"""One connection of REST's worker: its state, and the deadline of that state."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from config.gunicorn.request_reader import RequestReader
from config.gunicorn.response_writer import ResponseWriter
from config.gunicorn.uploads import MAX_UPLOAD_BYTES, UPLOAD_SECONDS

_RECEIVE_BYTES = 64 * 1024


class State(StrEnum):
    """The states of a connection."""

    HEAD = "head"  # the head of a request arrives, or the first one is due
    BODY = "body"  # the body of a request arrives
    UPLOAD = "upload"  # the body of an upload arrives
    WORKING = "working"  # a thread makes the answer
    SENDING = "sending"  # the answer is made, but not sent
    IDLE = "idle"  # kept alive between two requests
    CLOSING = "closing"  # our side is closed; what the client still sends is dropped


# Seconds that a connection may be in a state. In HEAD the first byte begins them anew, in SENDING
# each progress does.
SECONDS = {
    State.HEAD: 10.0,
    State.BODY: 10.0,
    State.UPLOAD: UPLOAD_SECONDS,
    State.WORKING: float("inf"),  # DB_TIMEOUT bounds it, and for an export the time of SENDING
    State.SENDING: 30.0,
    State.IDLE: 10.0,
    State.CLOSING: 2.0,
}
MAX_DROPPED_BYTES = 1024 * 1024  # that a client may still send in CLOSING


class Connection:
    """A non-blocking socket with its reader and its writer.

    Only the front thread changes it. `kept` is True if a further request may follow the answer.
    """

    __slots__ = ("_dropped", "_seconds", "client", "deadline", "kept", "reader", "server", "sock", "state", "writer")

    def __init__(self, sock: socket.socket, client: Any, config: Any, seconds: Mapping[State, float] = SECONDS) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.client = client
        self.server = sock.getsockname()  # the local address of this connection, also if all addresses are bound
        self.reader = RequestReader(config, client)
        self.writer = ResponseWriter(sock, seconds[State.SENDING])
        self.kept = False
        self._dropped = 0
        self._seconds = seconds
        self.enter(State.HEAD)

    def enter(self, state: State) -> None:
        """Change the state; its time begins."""
        self.state = state
        self.deadline = time.monotonic() + self._seconds[state]

    def receive(self) -> bool:
        """Read bytes of the client once; return False if it has closed the connection.

        Raises `OSError` if the connection is broken.
        """
        try:
            data = self.sock.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return True
        if not data:
            return False
        if self.state is State.CLOSING:
            self._dropped += len(data)
            return self._dropped <= (MAX_UPLOAD_BYTES if self.reader.is_upload else MAX_DROPPED_BYTES)
        if not self.reader.started:
            self.enter(State.HEAD)  # the time of a request begins with its first byte
        self.reader.feed(data)
        return True

    def end(self) -> None:
        """Close our side, so that the client receives the whole answer before it is reset."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
        self.enter(State.CLOSING)
