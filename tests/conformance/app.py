"""The application that the official protocol suites require, on the hub's own classes.

`/engine.io/` echoes every message, and so does the plain WebSocket `/ws/metrics`. `/socket.io/` has
the events `message` and `message-with-ack`, and the namespace `/custom`. It starts like the hub:
`gunicorn -k config.gunicorn.eventlet_worker.EventletWorker 'tests.conformance.app:create()'`.

`PING_INTERVAL`, `PING_TIMEOUT` and `CONNECT_TIMEOUT` are seconds. `FRAMES_PER_SECOND` is the rate
of one client.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable
from math import inf
from typing import Any

import engineio
from flask import Flask
from flask_socketio import SocketIO

from api.access.model import Handshake
from api.hub.transport.engineio_server import EngineServer
from api.hub.transport.eventlet_loop import Eventlet, Protocol, detach, make_socketio, wait_for_poll
from api.hub.transport.host import Limits
from api.hub.transport.socketio_server import ClientManager
from tests.conformance.plain_echo import plain_echo

MAX_BYTES = 1_000_000  # the suites expect it as `maxPayload`

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def create() -> Application:
    """Return the WSGI application: an echo on Engine.IO, the events of the suites on Socket.IO."""
    logging.basicConfig(level=logging.INFO)  # eventlet logs exceptions of an application as INFO
    engine, (events, server) = _engine(), _events()
    echo = plain_echo(engine, engineio.WSGIApp(engine))

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        chosen = events if environ["PATH_INFO"].startswith("/socket.io") else echo
        return chosen(environ, start_response)

    application.protocol = Protocol.of_server(server.places, server.handshakes.answer)  # type: ignore[attr-defined]
    application.arrivals = server.arrivals  # type: ignore[attr-defined]
    return application


def _limits(connect_seconds: float) -> Limits:
    rate = float(os.environ.get("FRAMES_PER_SECOND", "50"))
    return Limits(
        events_per_second=rate,
        events_at_once=4 * rate,
        ping_interval=int(os.environ.get("PING_INTERVAL", "1")),
        ping_timeout=int(os.environ.get("PING_TIMEOUT", "1")),
        max_message_bytes=MAX_BYTES,
        connect_seconds=connect_seconds,
    )


def _engine() -> EngineServer:
    """Engine.IO alone: every message comes back."""
    server = EngineServer(
        async_mode="eventlet",
        async_handlers=False,
        cors_allowed_origins="*",
        loop=Eventlet(),
        now=time.monotonic,
        wait_for_poll=wait_for_poll,
        detach=detach,
        limits=_limits(inf),  # no namespace exists that a client could join
    )
    server.on("connect", lambda sid, environ: None)
    server.on("message", server.send)
    server.on("disconnect", lambda sid, reason: None)
    return server


def _events() -> tuple[Application, EngineServer]:
    """Socket.IO with the events of the suites; `auth` comes back right after the CONNECT packet."""
    app = Flask(__name__)
    auths: dict[str, Any] = {}  # sid -> auth, from the handler of `connect` to the CONNECT packet

    def connect(sid: str, handshake: Handshake) -> None:
        auths[sid] = handshake.auth or {}

    def connected(sid: str, namespace: str) -> None:
        socketio.emit("auth", auths.pop(sid), to=sid, namespace=namespace)

    limits = _limits(float(os.environ.get("CONNECT_TIMEOUT", "4")))
    socketio = make_socketio(app, ClientManager(connected), limits)
    for namespace in ("/", "/custom"):
        socketio.on_event("connect", connect, namespace=namespace)
    _answers(socketio)
    wsgi: Application = app.wsgi_app
    return wsgi, socketio.server.eio


def _answers(socketio: SocketIO) -> None:
    def message(sid: str, *arguments: Any) -> None:
        socketio.emit("message-back", arguments, to=sid)  # a tuple is several arguments

    def message_with_ack(sid: str, *arguments: Any) -> tuple[Any, ...]:
        return arguments

    socketio.on_event("message", message)
    socketio.on_event("message-with-ack", message_with_ack)
