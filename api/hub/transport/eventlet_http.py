"""The hub's HTTP connections on eventlet: deadlines of requests, and sockets for WebSockets."""

from __future__ import annotations

import socket
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
from api.hub.transport.web.credentials import PRESENTED
from api.hub.transport.web.early import Early
from api.hub.transport.web.errors import JsonErrors, request_error

_real_socket = original("socket").socket  # not eventlet's green one
_NO_LIMITS = Limits(ping_interval=25, ping_timeout=5)
_END_OF_HEAD = b"\r\n\r\n"

# Checks a request line and the rest of a head, with the address of the peer and ours.
EarlyCheck = Callable[[bytes, bytes, str, Callable[[], str]], Early | None]


def _no_check(line: bytes, head: bytes, peer: str, local: Callable[[], str]) -> Early | None:
    """Leave every request to the application."""


def detach(environ: dict[str, Any]) -> socket.socket:
    """Return the socket of a request, non-blocking and taken away from the HTTP server."""
    sock: socket.socket = environ["tickwire.detach"]()
    return sock


class Protocol(JsonErrors, eventlet.wsgi.HttpProtocol):  # type: ignore[misc]
    """eventlet's HTTP connection, with a socket that the server of a request may take over.

    The head of a request arrives within `Limits.request_seconds` of its first byte, or of the
    connection if that sends nothing; the body within the same time. The client reads an answer
    within `Limits.blocked_seconds`. `places` counts connections that have not sent a
    whole head. `check_early` may answer a request before it is parsed.
    """

    places = Places(_NO_LIMITS, Peers())
    check_early: EarlyCheck = staticmethod(_no_check)
    _presented: Presented | None = None  # of the present request
    detached = False
    _timer: Any = None  # of the head or the body that is read now
    _requesting = False  # True if `places` counts the connection
    _served = False  # True after the first request
    _timed_out = False

    @classmethod
    def of_server(cls, places: Places, check_early: EarlyCheck = _no_check) -> type[Protocol]:
        """Return the class for the connections of one server."""
        return type("Protocol", (cls,), {"places": places, "check_early": staticmethod(check_early)})

    def handle(self) -> None:
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
        early = self.check_early(self.raw_requestline, ahead[:end], self._peer, self._local) if end >= len(_END_OF_HEAD) else None
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
            self._send_early(early.answer)
            if len(ahead) > end:
                eventlet.sleep(0)  # further requests wait already: other clients go first
        return not early.answer

    def _send_early(self, answer: bytes) -> None:
        """Send an answer at once; the connection ends if the client does not read its answers."""
        try:
            sent = self.connection.fd.send(answer, socket.MSG_DONTWAIT)
        except OSError:
            sent = 0
        if sent < len(answer):
            self.close_connection = True

    def _local(self) -> str:
        """Return the address of our end of the connection."""
        return str(eventlet.wsgi.addr_to_host_port(self.request.getsockname())[0])

    @property
    def _peer(self) -> str:
        """The address of the client's end of the connection."""
        return str(eventlet.wsgi.addr_to_host_port(self.client_address)[0])

    def _begin_head(self) -> None:
        self.places.begin_request(self._peer)
        self._requesting = True
        self._start_timer()

    def _head_complete(self) -> None:
        self._stop_timer()
        if self._requesting:
            self._requesting = False
            self.places.end_request(self._peer)

    def _start_timer(self) -> None:
        self._stop_timer()
        self._timer = hubs.get_hub().schedule_call_global(self.places.limits.request_seconds, self._time_out)

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
            self._start_timer()
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

    def detach(self) -> socket.socket:
        """Return the socket of the connection, non-blocking and ours alone.

        The request must send no answer.
        """
        self.detached = True
        eventlet.wsgi.WSGI_LOCAL.already_handled = True
        sock = self.connection
        # The descriptor itself: a duplicate would need a further one, and there may be none.
        ours = _real_socket(sock.family, sock.type, sock.proto, fileno=sock.detach())
        ours.setblocking(False)
        # After the request, the server shuts down and closes the socket that it finds here.
        self.conn_state[1] = _Detached()
        return ours  # type: ignore[no-any-return]

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
