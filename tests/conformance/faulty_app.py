"""An application on the hub's transport that raises on request.

The event `handshake` returns the handshake of its client, the event `raise` raises, and the event
`deep` returns the problem of each argument.

`auth` of a CONNECT is an object. `{"connect": NAME}`, `{"connected": NAME}` and
`{"disconnect": NAME}` make the handler of that step raise the built-in exception NAME.
`{"refuse": MESSAGE}` refuses the client.
"""

from __future__ import annotations

import builtins
import logging
from dataclasses import asdict
from typing import Any

from flask import Flask

from api.access.model import Handshake
from api.errors import ErrorCode, Refusal
from api.hub.transport.client_json import problem_of
from api.hub.transport.eventlet_loop import Protocol, make_socketio
from api.hub.transport.host import Limits
from api.hub.transport.socketio_server import ClientManager
from tests.conformance.app import Application

NAMESPACES = ("/", "/metrics")


class Handlers:
    """The handlers of all namespaces."""

    def __init__(self) -> None:
        self._handshakes: dict[str, Handshake] = {}  # sid -> its handshake

    def connect(self, sid: str, handshake: Handshake) -> None:
        self._handshakes[sid] = handshake
        if message := (handshake.auth or {}).get("refuse"):
            raise Refusal(ErrorCode.UNAUTHORIZED, message, {"token": ["Expired."]})
        self._fail(sid, "connect")

    def connected(self, sid: str, namespace: str) -> None:
        self._fail(sid, "connected")

    def disconnect(self, sid: str, reason: str) -> None:
        self._fail(sid, "disconnect")

    def event(self, sid: str, name: str, *arguments: Any) -> Any:
        if name == "raise":
            raise _exception(arguments[0])
        if name == "handshake":
            handshake = asdict(self._handshakes[sid])
            return handshake | {"headers": dict(handshake["headers"])}
        if name == "deep":
            return [problem_of(value) for value in arguments]
        return [name, *arguments]

    def _fail(self, sid: str, step: str) -> None:
        if name := (self._handshakes[sid].auth or {}).get(step):
            raise _exception(name)


def _exception(name: str) -> Exception:
    error: Exception = getattr(builtins, name)("a fault of the application")
    return error


def create() -> Application:
    """Return the WSGI application, with the namespaces `/` and `/metrics`."""
    logging.basicConfig(level=logging.INFO)
    app, handlers = Flask(__name__), Handlers()
    socketio = make_socketio(app, ClientManager(handlers.connected), Limits(ping_interval=25, ping_timeout=20))
    for namespace in NAMESPACES:
        socketio.on_event("connect", handlers.connect, namespace=namespace)
        socketio.on_event("disconnect", handlers.disconnect, namespace=namespace)
        socketio.on_event("*", handlers.event, namespace=namespace)
    return _Application(app.wsgi_app)


class _Application:
    """A WSGI application with the HTTP protocol that the transport needs."""

    protocol = Protocol

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        return self._application(environ, start_response)
