"""The bytes of an answer on their way to one client, which may read slowly or not at all."""

from __future__ import annotations

import select
import socket
from typing import Any

from gunicorn.http.wsgi import Response

MAX_UNSENT_BYTES = 4 * 1024 * 1024  # a page of 10,000 rows has 3 MB
_SEND_AT_BYTES = 64 * 1024


class Stalled(OSError):
    """The client has read nothing for too long."""


class ResponseWriter:
    """Sends bytes on a non-blocking socket; keeps the bytes that the socket does not take.

    `stalled_seconds` is the longest wait for a client that reads nothing.

    One thread at a time may use it: the thread that makes the answer, then the front thread.
    """

    def __init__(self, sock: socket.socket, stalled_seconds: float) -> None:
        self._sock = sock
        self._stalled_seconds = stalled_seconds
        self._unsent = bytearray()

    def __len__(self) -> int:
        """Return the number of unsent bytes."""
        return len(self._unsent)

    def sendall(self, data: bytes) -> None:
        """Take bytes of an answer; gunicorn's response calls it.

        Waits only if more than `MAX_UNSENT_BYTES` are unsent, as in a long export. Raises `OSError`
        if the client is gone, `Stalled` if it does not read.
        """
        self._unsent += data
        if len(self._unsent) < _SEND_AT_BYTES:
            return
        self.send()
        while len(self._unsent) > MAX_UNSENT_BYTES:
            self._wait()
            self.send()

    def send(self) -> bool:
        """Send the bytes that the socket takes now; return True if it took any.

        Raises `OSError` if the client is gone.
        """
        progress = False
        while self._unsent:
            try:
                with memoryview(self._unsent) as view:
                    count = self._sock.send(view)
            except BlockingIOError:
                break
            del self._unsent[:count]
            progress = True
        return progress

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._sock, select.POLLOUT)
        if not poll.poll(self._stalled_seconds * 1000):
            raise Stalled(f"the client has read nothing for {self._stalled_seconds:g} s")


class AnonymousResponse(Response):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's response without the header `Server`."""

    def default_headers(self) -> Any:
        return [line for line in super().default_headers() if not line.startswith("Server:")]
