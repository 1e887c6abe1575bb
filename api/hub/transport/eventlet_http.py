"""The hub's HTTP connections on eventlet: deadlines of requests, and sockets for WebSockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from math import ceil
from typing import Any

import eventlet
import eventlet.wsgi
from eventlet import greenio, hubs
from eventlet.patcher import original

from api.access.model import Presented
from api.access.peers import Peers
from api.hub.transport.host import Limits
from api.hub.transport.limits.places import Places, TooMany
from api.hub.transport.web.arrivals import Answer, Passed
from api.hub.transport.web.early import Early
from api.hub.transport.web.errors import JsonErrors, request_error
from api.hub.transport.web.http_requests import answer_bytes
from api.hub.transport.web.opening import PRESENTED, Opening, read_opening
from api.hub.transport.websocket import Taken

_real_socket = original("socket").socket  # not eventlet's green one
_NO_LIMITS = Limits(ping_interval=25, ping_timeout=5)
_END_OF_HEAD = b"\r\n\r\n"

# Checks a request line and the rest of a head, with the address of the peer and ours.
EarlyCheck = Callable[[bytes, bytes, str, Callable[[], str]], Early | None]


def _no_check(line: bytes, head: bytes, peer: str, local: Callable[[], str]) -> Early | None:
    """Leave every request to the application."""


def detach(environ: dict[str, Any]) -> Taken:
    """Return the socket of a request, taken away from the HTTP server."""
    taken: Taken = environ["tickwire.detach"]()
    return taken


class Protocol(JsonErrors, eventlet.wsgi.HttpProtocol):  # type: ignore[misc]
    """eventlet's HTTP connection, with a socket that the server of a request may take over.

    The head of a request arrives within `Limits.request_seconds` of its first byte, or of the
    connection if that sends nothing; the body within the same time. The client reads an answer
    within `Limits.blocked_seconds`. `places` counts connections that have not sent a
    whole head. `answer_handshake` serves a usual WebSocket handshake that opens a session, and
    `check_early` may answer another request, before it is parsed. Connections come from `Arrivals`
    with an attribute `passed`, or straight from the listener.
    """

    places = Places(_NO_LIMITS, Peers())
    check_early: EarlyCheck = staticmethod(_no_check)
    answer_handshake: Answer | None = None
    _presented: Presented | None = None  # of the present request
    detached = False
    _timer: Any = None  # of the head or the body that is read now
    _requesting = False  # True if `places` counts the connection
    _served = False  # True after the first request
    _timed_out = False

    @classmethod
    def of_server(cls, places: Places, answer_handshake: Answer, check_early: EarlyCheck = _no_check) -> type[Protocol]:
        """Return the class for the connections of one server."""
        functions = {"check_early": staticmethod(check_early), "answer_handshake": staticmethod(answer_handshake)}
        return type("Protocol", (cls,), {"places": places, **functions})

    def handle(self) -> None:
        passed: Passed | None = getattr(self.request, "passed", None)
        if passed is not None and passed.answered:
            self._served = True
        elif passed is not None:
            self._requesting = True
            self._start_timer(max(0.0, passed.head_due - time.monotonic()))
        try:
            super().handle()
        finally:
            self._head_complete()

    def _read_request_line(self) -> Any:
        if self._served and not self._next_request():
            return ""
        try:
            if not (self._served and _END_OF_HEAD in self.rfile.peek(1)):
                self._begin_head()
            self._served = True
        except TooMany:
            self._send_now(request_error(429, retry_after=ceil(self.places.limits.request_seconds)))
            self.close_connection = True
            return ""
        return super()._read_request_line()

    def _next_request(self) -> bool:
        """Wait for the first byte of a further request, as long as the socket may be idle.

        Raises `TimeoutError`, which ends the connection.
        """
        try:
            return bool(self.rfile.peek(1))
        except TimeoutError:
            raise
        except (OSError, ValueError):
            return False

    def parse_request(self) -> bool:
        # The end of the input completes a head for the parser: a request that is out of time is
        # not served.
        parsed = not self._timed_out and self._parse()
        self._head_complete()
        if self._timed_out:
            self.close_connection = True
        return parsed and not self._timed_out

    def _parse(self) -> bool:
        """Parse the request; return False if it has been answered, or cannot be read."""
        self._presented = None
        ahead = self.rfile.fp.peek()
        end = ahead.find(_END_OF_HEAD) + len(_END_OF_HEAD)
        early = None
        if end >= len(_END_OF_HEAD):
            if self.answer_handshake is not None and (found := read_opening(self.raw_requestline + ahead[:end], self._peer, self._local)):
                self._serve_handshake(found[0], end, more=len(ahead) > end)
                return False
            early = self.check_early(self.raw_requestline, ahead[:end], self._peer, self._local)
        if early is None:
            return bool(super().parse_request())
        self.rfile.fp.read(end)
        self._presented = early.presented
        self.command, self.path, self.request_version = "GET", early.target, "HTTP/1.1"
        self.requestline = f"GET {early.target} HTTP/1.1"
        self.headers = early.head
        self.close_connection = early.closes
        if early.answer:
            self._head_complete()
            self._send_early(early.answer, more=len(ahead) > end)
        return not early.answer

    def _serve_handshake(self, opening: Opening, size: int, *, more: bool) -> None:
        """Answer a handshake whose head has `size` bytes behind its first line."""
        assert self.answer_handshake is not None  # noqa: S101 - the caller has checked it
        self.rfile.fp.read(size)
        self._head_complete()
        refusal = self.answer_handshake(opening, self.detach)
        self.close_connection = refusal is None
        if refusal is not None:
            self._send_early(answer_bytes(refusal), more=more)

    def _send_early(self, answer: bytes, *, more: bool) -> None:
        """Send an answer at once; the connection ends if the client does not read its answers.

        If `more` requests wait already, other clients go first.
        """
        try:
            sent = self.connection.fd.send(answer, socket.MSG_DONTWAIT)
        except OSError:
            sent = 0
        if sent < len(answer):
            self.close_connection = True
        if more:
            eventlet.sleep(0)

    def _local(self) -> str:
        """Return the address of our end of the connection."""
        return str(eventlet.wsgi.addr_to_host_port(self.request.getsockname())[0])

    @property
    def _peer(self) -> str:
        """The address of the client's end of the connection."""
        return str(eventlet.wsgi.addr_to_host_port(self.client_address)[0])

    def _begin_head(self) -> None:
        if self._requesting:
            return  # since it was accepted
        self.places.begin_request(self._peer)
        self._requesting = True
        self._start_timer(self.places.limits.request_seconds)

    def _head_complete(self) -> None:
        self._stop_timer()
        if self._requesting:
            self._requesting = False
            self.places.end_request(self._peer)

    def _start_timer(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = hubs.get_hub().schedule_call_global(seconds, self._time_out)

    def _begin_answer(self) -> None:
        """Start the time in which the client reads its answer."""
        self._stop_timer()
        seconds = self.places.limits.blocked_seconds
        self._timer = hubs.get_hub().schedule_call_global(seconds, greenio.shutdown_safe, self.connection)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_out(self) -> None:
        self._timer = None
        self._timed_out = True
        self._send_now(request_error(408))
        greenio.shutdown_safe(self.connection)  # wakes the greenlet that reads

    def _send_now(self, answer: bytes) -> None:
        with suppress(OSError):
            self.connection.fd.send(answer, socket.MSG_DONTWAIT)

    def get_environ(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environ()
        environ["tickwire.detach"] = self.detach
        if self._presented is not None:
            environ[PRESENTED] = self._presented
        if self.headers.get("content-length", "0") != "0" or self.headers.get("transfer-encoding"):
            self._start_timer(self.places.limits.request_seconds)
            environ["tickwire.body_complete"] = self._stop_timer
        return environ

    def handle_one_response(self) -> None:
        serve: Callable[..., Any] = self.application  # type: ignore[has-type]

        def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
            def begin(*arguments: Any) -> Any:
                self._begin_answer()
                return start_response(*arguments)

            return serve(environ, begin)

        self.application = application
        try:
            super().handle_one_response()
        finally:
            self._stop_timer()

    def detach(self) -> Taken:
        """Return the socket of the connection, non-blocking and ours alone.

        The request must send no answer.
        """
        self.detached = True
        eventlet.wsgi.WSGI_LOCAL.already_handled = True
        rest, sock = self._rest(), self.connection
        # The descriptor itself: a duplicate would need a further one, and there may be none.
        ours = _real_socket(sock.family, sock.type, sock.proto, fileno=sock.detach())
        ours.setblocking(False)
        # After the request, the server shuts down and closes the socket that it finds here.
        self.conn_state[1] = _Detached()
        return Taken(ours, rest)

    def _rest(self) -> bytes:
        """Return the bytes behind the request that have been read already. It never waits."""
        self.connection.setblocking(False)
        try:
            file: Any = self.rfile
            return bytes(getattr(file, "fp", file).peek())  # `fp`: while a head is read
        except (OSError, ValueError):
            return b""

    def finish(self) -> None:
        if self.detached:
            self.rfile.close()
            self.wfile.close()  # it is empty
        else:
            super().finish()
            # If the last bytes could not be sent, this file still keeps the socket open.
            self.rfile.close()


class _Detached:
    """Replaces a detached socket in eventlet's connection."""

    def shutdown(self, how: int) -> None:
        """Do nothing: the socket is detached."""

    def close(self) -> None:
        """Do nothing: the socket is detached."""
