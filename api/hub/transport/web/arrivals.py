"""The first bytes of each new connection, read by a callback of the loop, without a greenlet.

A WebSocket handshake that opens a session is answered there. The HTTP server gets every other
connection, with its bytes still unread: they are only looked at.
"""

from __future__ import annotations

import logging
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from math import ceil
from typing import Any, NamedTuple

from api.hub.transport.limits.places import Places, TooMany
from api.hub.transport.web.errors import request_error
from api.hub.transport.web.http_requests import Refused, answer_bytes
from api.hub.transport.web.opening import Opening, read_opening
from api.hub.transport.websocket import Listener, Loop, Taken

log = logging.getLogger(__name__)

FIRST_READ_BYTES = 8192

Answer = Callable[[Opening, Callable[[], Taken]], Refused | None]


class Passed(NamedTuple):
    """The state of a connection that the HTTP server gets.

    Its place is counted until its head is complete, at the latest at `head_due`, a monotonic time.
    If it was `answered`, it has no place and may be idle.
    """

    head_due: float
    answered: bool


# Takes a connection: its socket, the address of its peer, its state.
PassOn = Callable[[socket.socket, Any, Passed], None]


class Arrival:
    """A connection that has sent no byte yet. It has a place while it is `counted`."""

    __slots__ = ("address", "counted", "due", "listener", "pass_on", "peer", "sock")

    def __init__(self, sock: socket.socket, address: Any, peer: str, due: float, pass_on: PassOn) -> None:
        self.sock = sock
        self.address = address
        self.peer = peer
        self.due = due  # monotonic time
        self.pass_on = pass_on
        self.counted = True
        self.listener: Listener | None = None  # None before it waits, and after its first bytes


class Arrivals:
    """Reads the first bytes of connections. `answer` serves a handshake.

    A connection has a place from its acceptance until its first head is complete, for at most
    `Limits.request_seconds`. `now` is a monotonic clock in seconds.
    """

    def __init__(self, loop: Loop, places: Places, answer: Answer, now: Callable[[], float]) -> None:
        self._loop = loop
        self._places = places
        self._answer = answer
        self._now = now
        self._waiting: deque[Arrival] = deque()  # by their times; those that have ended leave later
        self._timed = False  # True while a timer is set for the first of them

    def accept(self, sock: socket.socket, address: Any, pass_on: PassOn) -> None:
        """Take a new connection with a non-blocking socket."""
        peer = str(address[0]) if isinstance(address, tuple) else "unix"
        seconds = self._places.limits.request_seconds
        try:
            self._places.begin_request(peer)
        except TooMany:
            _end(sock, request_error(429, retry_after=ceil(seconds)))
            return
        arrival = Arrival(sock, address, peer, self._now() + seconds, pass_on)
        if not self._read(arrival):
            arrival.listener = self._loop.watch_reading(sock, lambda: self._readable(arrival))
            self._await(arrival)

    def _readable(self, arrival: Arrival) -> None:
        if arrival.listener is not None:
            self._read(arrival)

    def _read(self, arrival: Arrival) -> bool:
        """Handle the first bytes; return False if there are none yet."""
        try:
            return self._look(arrival)
        except Exception:
            # An error of ours. It ends this connection alone.
            log.exception("failed to read a new connection", extra={"address": arrival.peer})
            self._release(arrival)
            arrival.sock.close()
            return True

    def _look(self, arrival: Arrival) -> bool:
        try:
            data = arrival.sock.recv(FIRST_READ_BYTES, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        _stop(arrival)
        found = read_opening(data, arrival.peer, lambda: str(arrival.sock.getsockname()[0])) if data else None
        if data and found is None:
            arrival.pass_on(arrival.sock, arrival.address, Passed(arrival.due, answered=False))
            return True
        self._release(arrival)
        if found is None:
            _end(arrival.sock)
        else:
            self._serve(arrival, *found)
        return True

    def _serve(self, arrival: Arrival, opening: Opening, size: int) -> None:
        """Answer a handshake whose head has `size` bytes. Later bytes stay for the WebSocket."""
        sock = arrival.sock
        sock.recv(size)
        refusal = self._answer(opening, lambda: Taken(sock))
        if refusal is None:
            return
        with suppress(OSError):  # the HTTP server finds a lost connection
            sock.send(answer_bytes(refusal))
        arrival.pass_on(sock, arrival.address, Passed(arrival.due, answered=True))

    def _await(self, arrival: Arrival) -> None:
        """Begin the time in which the first byte arrives."""
        while self._waiting and self._waiting[0].listener is None:
            self._waiting.popleft()
        self._waiting.append(arrival)
        if not self._timed:
            self._timed = True
            self._loop.call_later(self._waiting[0].due - self._now(), self._expire)

    def _expire(self) -> None:
        """End the connections whose time is over."""
        now = self._now()
        while self._waiting and (self._waiting[0].listener is None or self._waiting[0].due <= now):
            arrival = self._waiting.popleft()
            if arrival.listener is not None:
                self._release(arrival)
                _end(arrival.sock, request_error(408))
        self._timed = bool(self._waiting)
        if self._timed:
            self._loop.call_later(self._waiting[0].due - now, self._expire)

    def _release(self, arrival: Arrival) -> None:
        _stop(arrival)
        if arrival.counted:
            arrival.counted = False
            self._places.end_request(arrival.peer)


def _stop(arrival: Arrival) -> None:
    if arrival.listener is not None:
        arrival.listener.stop()
        arrival.listener = None


def _end(sock: socket.socket, answer: bytes = b"") -> None:
    """Send the last bytes, if there are any, and close the connection."""
    with suppress(OSError):
        if answer:
            sock.send(answer)
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
