"""Flask, Socket.IO and Engine.IO of the hub."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from flask import Flask
from flask_socketio import SocketIO
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from api.access.connections import LimitedHandshakes
from api.access.limits import RATE_CONNECTIONS_PER_IP
from api.hub.assembly.callers import Callers
from api.hub.events import Events
from api.hub.fanout import Fanout
from api.hub.transport import send_many
from api.hub.transport.engineio_server import EngineServer
from api.hub.transport.eventlet_loop import make_socketio
from api.hub.transport.host import Limits
from api.hub.transport.limits.callers import AT_ONCE
from api.hub.transport.socketio_server import ClientManager
from config.access.modes import OFF
from config.http_errors import http_error_body
from config.loops import UNFIT_CODE
from config.settings import Settings

log = logging.getLogger(__name__)


class Transport(NamedTuple):
    """Flask, Socket.IO and Engine.IO."""

    app: Flask
    manager: ClientManager
    socketio: SocketIO
    engine: EngineServer


def choose_loop(settings: Settings) -> None:
    """Use the fan-out loop of the settings; ends the process with 2 if it needs the extension."""
    try:
        send_many.choose(settings.fanout_loop)
    except send_many.MissingExtension as error:
        log.error("%s", error)
        raise SystemExit(UNFIT_CODE) from None
    log.info("fan-out loop", extra={"loop": send_many.KIND})


def make_transport(settings: Settings, callers: Callers, *, max_unjoined: int) -> Transport:
    """Return the transport, with room for `max_unjoined` sessions that hold no namespace."""
    app = Flask(__name__, static_folder=None)
    app.register_error_handler(HTTPException, _http_error)
    manager = ClientManager()
    audit = callers.access.audit
    handshakes = None if callers.access.mode == OFF else LimitedHandshakes(callers.authenticator, callers.limits.connections)
    limits = replace(limits_of(settings), max_unjoined=max_unjoined)
    socketio = make_socketio(app, manager, limits, peers=callers.peers, authenticator=handshakes, audit=audit)
    engine: EngineServer = socketio.server.eio
    engine.places.note_refusal = lambda address: audit.limited(None, address, RATE_CONNECTIONS_PER_IP)
    return Transport(app, manager, socketio, engine)


def limits_of(settings: Settings) -> Limits:
    """Return the limits of the transport.

    A refused client needs a session too, for its refusal.
    """
    rate = settings.rate_events
    return Limits(
        ping_interval=settings.websocket_ping_interval,
        ping_timeout=settings.websocket_ping_timeout,
        max_connections_per_address=settings.rate_connections_per_ip,
        connect_seconds=settings.auth_join_seconds,
        events_per_second=rate.per_second,
        events_at_once=AT_ONCE * rate.count,
        outbox_bytes=settings.outbox_limit_bytes,
        blocked_seconds=settings.outbox_timeout,
    )


def register_handlers(socketio: SocketIO, events: Events, fanouts: Mapping[str, Fanout]) -> None:
    """Connect the events of Socket.IO to ours, in each namespace."""

    def disconnect(client: str, reason: str = "") -> None:
        events.disconnected(client)

    def any_event(client: str, name: str, *arguments: Any) -> Any:
        return events.answer(client, name, arguments)

    for namespace in fanouts:
        socketio.on_event("connect", events.admit, namespace=namespace)
        socketio.on_event("disconnect", disconnect, namespace=namespace)
        socketio.on_event("*", any_event, namespace=namespace)


def _http_error(error: HTTPException) -> tuple[dict[str, Any], int, list[tuple[str, str]]] | BaseResponse:
    """Give the errors of routes outside `/socket.io/` our shape."""
    if error.code is None or error.code < 400:
        return error.get_response()
    body = http_error_body(error.name.lower().replace(" ", "_"), error.description or error.name)
    return body, error.code, [header for header in error.get_headers() if header[0] != "Content-Type"]
