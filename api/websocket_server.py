"""The hub's composition root: settings in, a WSGI application with its relay and housekeeping out."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import orjson
import psutil
from flask import Flask, request
from flask_socketio import ConnectionRefusedError, SocketIO  # noqa: A004 - Socket.IO's own name for it

from api.hub.engine import ClientManager, make_socketio, wait_for_socket
from api.hub.events import Events, error_body
from api.hub.fanout import Fanout, SocketIOFanout
from api.hub.relay import Relay
from api.hub.topic_log import TopicLog
from api.hub.wire import Frame
from api.schemas.errors import ErrorCode
from config.settings import Settings
from db.bus import Bus
from db.instruments import all_instruments
from db.postgres import Store, StoreError, cooperate
from db.sessions import Session, all_sessions
from db.timestamps import format_time

log = logging.getLogger(__name__)

_FLUSH_SECONDS = 5.0


class Hub:
    """The running hub: a WSGI application that can be told to go away politely."""

    def __init__(self, app: Flask, fanout: Fanout, stop: threading.Event) -> None:
        self._app = app
        self._fanout = fanout
        self._stop = stop

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if self._stop.is_set() and "sid=" not in environ.get("QUERY_STRING", ""):
            start_response("503 Service Unavailable", [("Retry-After", "2"), ("Connection", "close")])
            return [b""]
        # A browser always offers permessage-deflate, and eventlet accepts: 170 KB a client, and work for every single frame.
        environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
        return self._app(environ, start_response)

    def shutdown(self) -> None:
        """Tell every client when to come back, and close its transport behind that; takes at most a few seconds."""
        self._stop.set()
        clients = self._fanout.clients()
        log.info("hub stops", extra={"clients": len(clients)})
        for client in clients:
            # Jitter, so that they do not all come back in the same instant.
            details = {"retry_after": round(random.uniform(1.0, 5.0), 2)}  # noqa: S311
            body = error_body(ErrorCode.UNAVAILABLE, "The server restarts; please reconnect.", "disconnect", details)
            self._fanout.send(client, Frame("error", orjson.dumps(body)))
            self._fanout.close(client)
        deadline = time.monotonic() + _FLUSH_SECONDS
        while not self._fanout.idle() and time.monotonic() < deadline:
            time.sleep(0.05)


def create_hub(settings: Settings, bus: Bus, store: Store, clock: Callable[[], datetime]) -> Hub:
    """Build the hub on a bus and a store, and start its relay. Waits for PostgreSQL once, for the reference data."""
    cooperate(wait_for_socket)
    instruments, sessions = _reference_data(store)
    app = Flask(__name__)
    manager = ClientManager()
    socketio = make_socketio(app, settings, manager)
    fanout = SocketIOFanout(socketio.server)
    topic_log = TopicLog()
    relay = Relay(bus, topic_log, fanout, frozenset(instruments))
    events = Events(
        fanout,
        topic_log,
        instruments,
        max_clients=settings.websocket_max_clients,
        ping_interval=settings.websocket_ping_interval,
        ping_timeout=settings.websocket_ping_timeout,
        timestamp=lambda: format_time(clock()),
        stats=_Stats(relay, sessions, clock),
    )
    _wire(socketio, manager, events)
    stop = threading.Event()
    socketio.start_background_task(relay.run, stop)
    socketio.start_background_task(_housekeeping, fanout, stop)
    return Hub(app, fanout, stop)


class _Stats:
    """The part of `server_stats` that is not about clients."""

    def __init__(self, relay: Relay, sessions: list[Session], clock: Callable[[], datetime]) -> None:
        self._relay = relay
        self._sessions = sessions
        self._clock = clock
        self._started = time.monotonic()
        self._process = psutil.Process()

    def __call__(self) -> dict[str, Any]:
        now = time.monotonic()
        last = self._relay.last_message
        moment = self._clock()
        return {
            "messages_relayed": self._relay.relayed,
            "messages_skipped": dict(self._relay.skipped),
            "uptime_seconds": round(now - self._started, 3),
            "memory_usage_mb": round(self._process.memory_info().rss / 2**20, 1),
            "redis_connected": self._relay.connected,
            "last_message_age_seconds": None if last is None else round(now - last, 3),
            "open_sessions": [session.name for session in self._sessions if session.is_open(moment)],
        }


def _wire(socketio: SocketIO, manager: ClientManager, events: Events) -> None:
    """Connect Socket.IO's events to ours."""
    manager.on_connected = events.connected

    def connect(auth: Any = None) -> None:
        if refusal := events.admit():
            raise ConnectionRefusedError(refusal["code"], refusal)

    def disconnect(reason: str = "") -> None:
        events.disconnected(request.sid)  # type: ignore[attr-defined]

    def anything(event: str, *arguments: Any) -> Any:
        return orjson.Fragment(events.answer(request.sid, event, arguments))  # type: ignore[attr-defined]

    socketio.on_event("connect", connect)
    socketio.on_event("disconnect", disconnect)
    socketio.on_event("*", anything)


def _reference_data(store: Store) -> tuple[list[str], list[Session]]:
    """Instruments and sessions; a database that is away is waited for, since nothing can be judged without them."""
    attempt = 0
    while True:
        try:
            with store.transaction() as cursor:
                return [instrument.symbol for instrument in all_instruments(cursor)], all_sessions(cursor)
        except StoreError as error:
            attempt += 1
            log.warning("hub waits for the store: %s", error)
            time.sleep(min(5.0, 0.25 * 2**attempt))


def _housekeeping(fanout: Fanout, stop: threading.Event) -> None:
    while not stop.wait(1.0):
        try:
            if slow := fanout.drop_slow():
                log.warning("disconnected slow clients", extra={"clients": slow})
        except Exception:
            log.exception("housekeeping failed")
