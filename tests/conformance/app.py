"""What the official protocol suites ask of a server under test, on the hub's own classes.

`/engine.io/` echoes every message; `/socket.io/` has the events `message` and `message-with-ack` and the namespace `/custom`.
Started as the hub is: `gunicorn -k config.gunicorn.eventlet_worker.EventletWorker -b 127.0.0.1:3000 'tests.conformance.app:create()'`.

`PING_INTERVAL`, `PING_TIMEOUT` and `CONNECT_TIMEOUT` are seconds.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from math import inf
from typing import Any

import engineio
from flask import Flask
from flask_socketio import SocketIO

from api.hub.transport.engineio_server import EngineServer
from api.hub.transport.eventlet_loop import ClientManager, Protocol, make_socketio, start
from config import settings as settings_module
from config.settings import Settings

MOST_BYTES = 1_000_000  # the suites expect it as `maxPayload`

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def create() -> Application:
    """The WSGI application: an echo on Engine.IO, the suites' events on Socket.IO."""
    logging.basicConfig(level=logging.INFO)  # eventlet reports what an application raises as mere information
    settings = replace(
        settings_module.load({}, dotenv=None),
        websocket_ping_interval=int(os.environ.get("PING_INTERVAL", "1")),
        websocket_ping_timeout=int(os.environ.get("PING_TIMEOUT", "1")),
        cors_origins=("*",),
    )
    echo, events = _echo(settings), _events(settings)

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        chosen = echo if environ["PATH_INFO"].startswith("/engine.io") else events
        return chosen(environ, start_response)

    application.protocol = Protocol  # type: ignore[attr-defined]
    return application


def _echo(settings: Settings) -> Application:
    """Engine.IO alone: every message comes back."""
    server = EngineServer(
        async_mode="eventlet",
        async_handlers=False,
        ping_interval=settings.websocket_ping_interval,
        ping_timeout=settings.websocket_ping_timeout,
        max_http_buffer_size=MOST_BYTES,
        cors_allowed_origins="*",
    )
    server.connect_seconds = inf  # there is nothing to join
    server.on("connect", lambda sid, environ: None)
    server.on("message", server.send)
    server.on("disconnect", lambda sid, reason: None)
    start(server)
    application: Application = engineio.WSGIApp(server)
    return application


def _events(settings: Settings) -> Application:
    """Socket.IO with the suites' events; what a client gave as auth comes back right behind its CONNECT packet."""
    app = Flask(__name__)
    manager = ClientManager()
    socketio = make_socketio(app, settings, manager)
    socketio.server.eio.max_http_buffer_size = MOST_BYTES
    socketio.server.eio.connect_seconds = float(os.environ.get("CONNECT_TIMEOUT", "4"))
    auths: dict[str, tuple[str, Any]] = {}  # sid -> (namespace, auth), from the handler of `connect` to the CONNECT packet

    def connected(sid: str) -> None:
        namespace, auth = auths.pop(sid)
        socketio.emit("auth", auth, to=sid, namespace=namespace)

    def keep(namespace: str) -> Callable[..., None]:
        def connect(sid: str, auth: Any = None) -> None:
            auths[sid] = namespace, auth or {}

        return connect

    manager.on_connected = connected
    for namespace in ("/", "/custom"):
        socketio.on_event("connect", keep(namespace), namespace=namespace)
    _answers(socketio)
    wsgi: Application = app.wsgi_app
    return wsgi


def _answers(socketio: SocketIO) -> None:
    def message(sid: str, *arguments: Any) -> None:
        socketio.emit("message-back", arguments, to=sid)  # a tuple is several arguments

    def message_with_ack(sid: str, *arguments: Any) -> tuple[Any, ...]:
        return arguments

    socketio.on_event("message", message)
    socketio.on_event("message-with-ack", message_with_ack)
