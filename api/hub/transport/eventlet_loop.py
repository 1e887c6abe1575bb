"""The one module of the hub that names eventlet: the loop, the HTTP server's sockets, and Flask-SocketIO put on top."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import eventlet
import eventlet.event
import eventlet.wsgi
import socketio
from eventlet import hubs
from eventlet.hubs.hub import READ, WRITE
from eventlet.patcher import original
from flask import Flask
from flask_socketio import SocketIO, _SocketIOMiddleware

from api.hub.transport.engineio_server import EngineServer
from api.hub.transport.session import Session
from api.hub.transport.socketio_server import SocketServer
from api.orjson_provider import Json
from config.settings import Settings

log = logging.getLogger(__name__)

MOST_EVENT_BYTES = 64 * 1024  # one event from a client; the largest sensible subscribe is a tenth of it
_real_socket = original("socket").socket  # not eventlet's green one


class Watch:
    """A socket under the hub's eye; its callbacks run in the loop itself, so a connection costs no greenlet."""

    __slots__ = ("_reading", "_sock", "_writable", "_writing")

    def __init__(self, sock: socket.socket, readable: Callable[[], None], writable: Callable[[], None]) -> None:
        self._sock: socket.socket | None = sock
        self._writable = writable
        self._writing: Any = None
        self._reading: Any = hubs.get_hub().add(READ, sock.fileno(), lambda _: readable(), lambda _: None, lambda: None)

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
        self._writing = None
        self._sock.close()
        self._sock = None


class Eventlet:
    """The loop as `api.hub.transport.websocket.Loop` asks for it."""

    def watch(self, sock: socket.socket, readable: Callable[[], None], writable: Callable[[], None]) -> Watch:
        return Watch(sock, readable, writable)

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        hubs.get_hub().schedule_call_global(seconds, _guarded, function)


def _guarded(function: Callable[[], None]) -> None:
    try:
        function()
    except Exception:
        log.exception("a deferred call failed")


class _Waiting:
    """A polling request that waits: woken by the session, or by the end of its own connection."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = eventlet.event.Event()

    def wake(self) -> None:
        self._tell(True)

    def hang_up(self) -> None:
        self._tell(False)

    def _tell(self, there: bool) -> None:
        if not self._event.ready():
            self._event.send(there)

    def wait(self) -> bool:
        return bool(self._event.wait())


def wait_for_poll(session: Session, environ: dict[str, Any]) -> bool:
    """Wait until there is something to answer the poll with; False where its client has gone."""
    waiting = _Waiting()
    sock = environ["eventlet.input"].get_socket()

    def readable(_: int) -> None:
        try:
            gone = not sock.fd.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            gone = True
        stop_listening()  # what is readable stays readable: a request already behind this one must not spin the loop
        if gone:
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


class Protocol(eventlet.wsgi.HttpProtocol):  # type: ignore[misc]
    """eventlet's HTTP connection, whose socket can be taken over by whoever serves a request."""

    detached = False

    def get_environ(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environ()
        environ["tickwire.detach"] = self.detach
        return environ

    def detach(self) -> socket.socket:
        """The connection's socket, non-blocking, ours alone from now on; the request must answer nothing more."""
        self.detached = True
        eventlet.wsgi.WSGI_LOCAL.already_handled = True
        sock = self.connection
        ours = _real_socket(sock.family, sock.type, sock.proto, fileno=os.dup(sock.fileno()))
        ours.setblocking(False)
        # The server closes what it finds here when the request is over; shut down, the connection would be, for us too.
        self.conn_state[1] = _Gone()
        return ours  # type: ignore[no-any-return]

    def finish(self) -> None:
        if self.detached:
            self.rfile.close()
            self.wfile.close()  # nothing is in it; but until it is closed, the socket is not
            self.connection.close()
        else:
            super().finish()


class _Gone:
    """Stands where a detached socket was."""

    def shutdown(self, how: int) -> None:
        """Nothing to shut down."""

    def close(self) -> None:
        """Nothing to close."""


class ClientManager(socketio.Manager):  # type: ignore[misc]
    """Tells when a client has been sent its CONNECT packet: whatever is sent sooner, real clients drop."""

    def __init__(self) -> None:
        super().__init__()
        self.on_connected: Callable[[str], None] = lambda sid: None

    def connect(self, sid: str, namespace: str) -> Any:
        """python-socketio calls this right after it has sent the CONNECT packet."""
        connected = super().connect(sid, namespace)
        self.on_connected(sid)
        return connected


class HubSocketIO(SocketIO):  # type: ignore[misc]
    """Flask-SocketIO on `SocketServer`, its handlers called without a Flask request context each: no handler reads one.

    A handler gets the client's id first. The context, entered and left, was the larger part of what an event cost.
    """

    def init_app(self, app: Flask, **options: Any) -> None:
        app.extensions["socketio"] = self
        self.server = SocketServer(async_mode="eventlet", async_handlers=False, **options)
        self.async_mode = self.server.async_mode
        self.sockio_mw = _SocketIOMiddleware(self.server, app, socketio_path="socket.io")
        app.wsgi_app = self.sockio_mw  # type: ignore[method-assign]

    def _handle_event(self, handler: Callable[..., Any], message: str, namespace: str, sid: str, *args: Any) -> Any:
        # A connect handler is given (environ, auth), and the environ is empty.
        return handler(sid, *args[1:]) if message == "connect" else handler(sid, *args)


def make_socketio(app: Flask, settings: Settings, manager: ClientManager) -> SocketIO:
    """The Socket.IO server with the contract's pings and limits; events of one client are handled in order."""
    socket_io = HubSocketIO(
        app,
        client_manager=manager,
        json=Json,
        ping_interval=settings.websocket_ping_interval,
        ping_timeout=settings.websocket_ping_timeout,
        max_http_buffer_size=MOST_EVENT_BYTES,
        cors_allowed_origins=allowed_origin(settings.cors_origins),
    )
    engine: EngineServer = socket_io.server.eio
    engine.outbox_limit, engine.outbox_timeout = settings.outbox_limit_bytes, settings.outbox_timeout
    engine.most_sessions = 2 * settings.websocket_max_clients + 100  # those who are refused need one too, to hear it
    start(engine)
    return socket_io


def start(engine: EngineServer) -> None:
    """Give the transport its loop, its time and its clock."""
    engine.loop = Eventlet()
    engine.now = time.monotonic
    engine.wait_for_poll = wait_for_poll
    engine.detach = lambda environ: environ["tickwire.detach"]()
    pace = min(1.0, engine.ping_interval / 10, engine.ping_timeout / 10)

    def clock() -> None:
        while True:
            eventlet.sleep(pace)
            _guarded(engine.tick)

    eventlet.spawn(clock)


def allowed_origin(extra: tuple[str, ...]) -> Callable[[str | None, dict[str, Any]], bool]:
    """Which pages may connect: those of the hub's own host (any port), of this machine, and of `extra` (`*`: all).

    A page of any other site must not read the hub of somebody who merely visits it.
    """

    def allowed(origin: str | None, environ: dict[str, Any]) -> bool:
        if not origin or "*" in extra or origin in extra:
            return True
        host = urlsplit(origin).hostname
        return host in ("localhost", "127.0.0.1", "::1") or host == urlsplit(f"//{environ.get('HTTP_HOST', '')}").hostname

    return allowed


def wait_for_socket(fd: int, for_writing: bool, timeout: float | None) -> None:
    """Let other greenlets run until `fd` is ready; `TimeoutError` after `timeout` seconds."""
    hubs.trampoline(fd, read=not for_writing, write=for_writing, timeout=timeout, timeout_exc=TimeoutError)
