"""The transport on eventlet: the loop, the sockets of the HTTP server, and Flask-SocketIO.

No other module of the hub imports eventlet.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import eventlet
import eventlet.event
from eventlet import hubs
from eventlet.hubs.hub import READ, WRITE
from flask import Flask
from flask_socketio import ConnectionRefusedError, SocketIO, _SocketIOMiddleware  # noqa: A004 - Socket.IO's own name for it

from api.access.audit import Audit
from api.access.model import Authenticator
from api.access.peers import Peers
from api.errors import ErrorCode, Refusal, error_body
from api.hub.transport.client_json import Json, problem_of
from api.hub.transport.eventlet_http import Protocol as Protocol
from api.hub.transport.eventlet_http import detach as detach
from api.hub.transport.host import Limits
from api.hub.transport.limits.totals import end_after
from api.hub.transport.outbox import gap_notice
from api.hub.transport.session import GapNotice, Session
from api.hub.transport.socketio_server import ClientManager, SocketServer
from config.loops import HEARTBEATS, PROCESS_END, keep

log = logging.getLogger(__name__)

CLOCK_ROUND_SECONDS = 1.0  # the longest time of one call of the clock


class Watch:
    """The registration of a socket with the loop.

    Callbacks run in the loop itself: a connection needs no greenlet.
    """

    __slots__ = ("_readable", "_reading", "_sock", "_writable", "_writing")

    def __init__(self, sock: socket.socket, readable: Callable[[], None], writable: Callable[[], None]) -> None:
        self._sock: socket.socket | None = sock
        self._readable = readable
        self._writable = writable
        self._writing: Any = None
        self._reading: Any = None
        self.resume()

    def pause(self) -> None:
        if self._reading is not None:
            hubs.get_hub().remove(self._reading)
            self._reading = None

    def resume(self) -> None:
        if self._reading is None and self._sock is not None:
            self._reading = hubs.get_hub().add(READ, self._sock.fileno(), self._on_readable, lambda _: None, lambda: None)

    def _on_readable(self, _: int) -> None:
        if self._reading is not None:
            self._readable()

    def want_write(self) -> None:
        if self._writing is None and self._sock is not None:
            self._writing = hubs.get_hub().add(WRITE, self._sock.fileno(), self._on_writable, lambda _: None, lambda: None)

    def _on_writable(self, _: int) -> None:
        if self._writing is not None:
            hubs.get_hub().remove(self._writing)
            self._writing = None
            self._writable()

    def close(self) -> None:
        if self._sock is None:
            return
        hub = hubs.get_hub()
        for listener in (self._reading, self._writing):
            if listener is not None:
                hub.remove(listener)
        self._reading = self._writing = None
        self._sock.close()
        self._sock = None


class Reading:
    """The registration of a socket that is only read. Its callback runs in the loop itself."""

    __slots__ = ("_listener", "_readable")

    def __init__(self, sock: socket.socket, readable: Callable[[], None]) -> None:
        self._readable = readable
        self._listener: Any = hubs.get_hub().add(READ, sock.fileno(), self._on_readable, lambda _: None, lambda: None)

    def _on_readable(self, _: int) -> None:
        if self._listener is not None:  # the events of one turn are collected before the first call
            self._readable()

    def stop(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            hubs.get_hub().remove(listener)


class Eventlet:
    """eventlet's hub as a `api.hub.transport.websocket.Loop`."""

    def watch(self, sock: socket.socket, readable: Callable[[], None], writable: Callable[[], None]) -> Watch:
        return Watch(sock, readable, writable)

    def watch_reading(self, sock: socket.socket, readable: Callable[[], None]) -> Reading:
        return Reading(sock, readable)

    def spawn(self, function: Callable[[], None]) -> None:
        eventlet.spawn_n(_guarded, function)

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        hubs.get_hub().schedule_call_global(seconds, _guarded, function)

    def every(self, seconds: float, function: Callable[[], None]) -> None:
        # It lasts as long as the process.
        HEARTBEATS.expect("clock", seconds + CLOCK_ROUND_SECONDS)
        eventlet.spawn(keep, "clock", partial(_run_clock, seconds, function), lambda: PROCESS_END.begun, PROCESS_END)

    def busy(self) -> bool:
        # The events stay: eventlet registers sockets level-triggered.
        return bool(hubs.get_hub().poll.poll(0))

    def pause(self, seconds: float) -> None:
        eventlet.sleep(seconds)


def _guarded(function: Callable[[], None]) -> None:
    try:
        function()
    except Exception:
        log.exception("a deferred call failed")


def _run_clock(seconds: float, function: Callable[[], None]) -> None:
    """Call the function for ever: a hub without its clock sends no pings."""
    while True:
        eventlet.sleep(seconds)
        HEARTBEATS.beat("clock")
        function()


class _Waiting:
    """A waiting polling request. The session wakes it, or the end of its connection does."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = eventlet.event.Event()

    def wake(self) -> None:
        self._finish(True)

    def hang_up(self) -> None:
        self._finish(False)

    def _finish(self, connected: bool) -> None:
        if not self._event.ready():
            self._event.send(connected)

    def wait(self) -> bool:
        return bool(self._event.wait())


def wait_for_poll(session: Session, environ: dict[str, Any]) -> bool:
    """Wait until the session has a packet for the poll; return False if the client has gone."""
    waiting = _Waiting()
    sock = environ["eventlet.input"].get_socket()

    def readable(_: int) -> None:
        try:
            closed = not sock.fd.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            closed = True
        # The socket stays readable: without this, a pipelined request would call us again and
        # again.
        stop_listening()
        if closed:
            waiting.hang_up()

    listeners = [hubs.get_hub().add(READ, sock.fileno(), readable, lambda _: None, lambda: None)]

    def stop_listening() -> None:
        while listeners:
            hubs.get_hub().remove(listeners.pop())

    session.poll = waiting
    try:
        return waiting.wait()
    finally:
        session.poll = None
        stop_listening()


class HubSocketIO(SocketIO):  # type: ignore[misc]
    """Flask-SocketIO on `SocketServer` and eventlet.

    Handlers run without a Flask request context, which was the largest part of the cost of an
    event. They are called as `connect(sid, handshake)`, `disconnect(sid, reason)` and
    `handler(sid, *arguments)`; the handler of `*` as `handler(sid, name, *arguments)`. A `Refusal`
    of a connect handler becomes CONNECT_ERROR with the body of the `error` event.
    """

    def init_app(self, app: Flask, **options: Any) -> None:
        app.extensions["socketio"] = self
        engine = {"loop": Eventlet(), "now": time.monotonic, "wait_for_poll": wait_for_poll, "detach": detach}
        self.server = SocketServer(async_mode="eventlet", async_handlers=False, **engine, **options)
        self.async_mode = self.server.async_mode
        self.sockio_mw = _SocketIOMiddleware(self.server, app, socketio_path="socket.io")
        app.wsgi_app = self.sockio_mw  # type: ignore[method-assign]

    def _handle_event(self, handler: Callable[..., Any], message: str, namespace: str, sid: str, *args: Any) -> Any:
        if message == "connect":
            return self._connect(handler, namespace, sid, *args)
        return handler(sid, *args)

    def _connect(self, handler: Callable[..., Any], namespace: str, sid: str, _environ: Any, auth: Mapping[str, Any] | None = None) -> Any:
        session = self.server.session_of(sid, namespace)
        try:
            if problem := problem_of(auth):
                raise Refusal(ErrorCode.INVALID_PAYLOAD, "Invalid auth.", {"auth": [problem]})
            answer = handler(sid, session.handshake(namespace, auth))
            session.accept(auth)
        except Refusal as refusal:
            session.refused = end_after(refusal.code)
            body = error_body(refusal.code, str(refusal), "connect", refusal.details)
            raise ConnectionRefusedError(body["code"], body) from None
        return answer


def make_socketio(
    app: Flask,
    manager: ClientManager,
    limits: Limits,
    *,
    gap_notice: GapNotice = gap_notice,
    peers: Peers | None = None,
    authenticator: Authenticator | None = None,
    audit: Audit | None = None,
) -> SocketIO:
    """Return the Socket.IO server, which handles the events of one client in order.

    `peers` finds the address of a client. `authenticator` checks credentials in headers; with None
    they are not checked. `audit` receives refusals of later requests.
    """
    return HubSocketIO(
        app,
        client_manager=manager,
        json=Json,
        limits=limits,
        gap_notice=gap_notice,
        peers=peers,
        authenticator=authenticator,
        audit=audit,
    )


def wait_for_socket(fd: int, for_writing: bool, timeout: float | None) -> None:
    """Run other greenlets until `fd` is ready. Raises `TimeoutError` after `timeout` seconds."""
    hubs.trampoline(fd, read=not for_writing, write=for_writing, timeout=timeout, timeout_exc=TimeoutError)
