"""The hub's composition root: settings in, a WSGI application with its relay and housekeeping out."""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson
from flask import Flask
from flask_socketio import ConnectionRefusedError, SocketIO  # noqa: A004 - Socket.IO's own name for it

from api.errors import ErrorCode, error_body
from api.hub.alerts.notifier import AlertNotifier
from api.hub.alerts.requests import AlertRequests
from api.hub.alerts.rules import RuleIndex, Series
from api.hub.alerts.volatility_feed import VolatilityFeed
from api.hub.events import Events
from api.hub.fanout import Fanout
from api.hub.relay import Relay
from api.hub.schemas.requests import PRICE
from api.hub.stats import Stats
from api.hub.topic_log import TopicLog
from api.hub.transport.engineio_server import EngineServer
from api.hub.transport.eventlet_loop import ClientManager, Protocol, make_socketio, wait_for_socket
from api.hub.transport.wire import event
from config.settings import Settings
from db import topics
from db.bus import Bus
from db.instruments import all_instruments
from db.postgres import Store, StoreError, cooperate
from db.sessions import Session, all_sessions
from db.timestamps import format_time

log = logging.getLogger(__name__)

_FLUSH_SECONDS = 5.0


class Hub:
    """The running hub: a WSGI application that can be told to go away politely."""

    protocol = Protocol  # what the HTTP server has to speak for it

    def __init__(self, app: Flask, engine: EngineServer, fanout: Fanout, relay: Relay, stop: threading.Event) -> None:
        self._app = app
        self._engine = engine
        self._fanout = fanout
        self._relay = relay
        self._stop = stop

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        # A client that came before the log is filled would be told that nothing of what it missed is known.
        early = not self._relay.loaded and environ.get("PATH_INFO", "").startswith("/socket.io/")
        if (early or self._stop.is_set()) and "sid=" not in environ.get("QUERY_STRING", ""):
            start_response("503 Service Unavailable", [("Retry-After", "2"), ("Connection", "close")])
            return [b""]
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
            self._fanout.send(client, event("error", orjson.dumps(body)))
        deadline = time.monotonic() + _FLUSH_SECONDS
        while self._engine.waiting_bytes() and time.monotonic() < deadline:
            time.sleep(0.02)
        self._engine.leave()
        while self._engine.closing and time.monotonic() < deadline:
            time.sleep(0.02)


def create_hub(settings: Settings, bus: Bus, store: Store, clock: Callable[[], datetime]) -> Hub:
    """Build the hub on a bus and a store, and start its relay. Waits for PostgreSQL once, for the reference data."""
    cooperate(wait_for_socket)
    instruments, sessions = _reference_data(store)
    app = Flask(__name__)
    manager = ClientManager()
    socketio = make_socketio(app, settings, manager)
    engine: EngineServer = socketio.server.eio
    fanout = Fanout(time.monotonic, engine.loop.call_later)
    topic_log = TopicLog()
    rules = RuleIndex()
    notifier = AlertNotifier(rules, fanout, lambda: format_time(clock()))
    feed = VolatilityFeed(store, notifier.volatility)
    relay = Relay(bus, topic_log, fanout, frozenset(instruments), {topics.PRICES: notifier.price, topics.DATA_READY: feed.data_ready})
    events = Events(
        fanout,
        topic_log,
        instruments,
        AlertRequests(rules, frozenset(instruments), lambda series: _current(series, topic_log, feed), prefix=uuid.uuid4().hex[:6]),
        max_clients=settings.websocket_max_clients,
        replay_bytes=settings.outbox_limit_bytes * 7 // 8,
        ping_interval=settings.websocket_ping_interval,
        ping_timeout=settings.websocket_ping_timeout,
        timestamp=lambda: format_time(clock()),
        stats=Stats(relay, engine, sessions, clock),
    )
    _register_handlers(socketio, manager, events)
    stop = threading.Event()
    app.add_url_rule("/hub/health", view_func=lambda: _health(relay, engine, stop))
    feed.read()  # so that the first alerts begin with what is known
    socketio.start_background_task(relay.run, stop)
    socketio.start_background_task(feed.run, stop)
    return Hub(app, engine, fanout, relay, stop)


def _current(series: Series, topic_log: TopicLog, feed: VolatilityFeed) -> Decimal | None:
    """The value that a series has just now, by which a new rule knows where it starts."""
    instrument, metric = series
    if metric == PRICE:
        body = topic_log.latest(instrument)
        return None if body is None else Decimal(orjson.loads(body)["price"]["mid"])
    figure = feed.current(instrument)
    return None if figure is None else Decimal(repr(figure))


def _health(relay: Relay, engine: EngineServer, stop: threading.Event) -> tuple[dict[str, Any], int]:
    """For load balancers: whether new clients are well served here."""
    fine = relay.connected and not stop.is_set()
    body = {"status": "healthy" if fine else "unhealthy", "redis_connected": relay.connected, "sessions": len(engine.sockets)}
    return body, 200 if fine else 503


def _register_handlers(socketio: SocketIO, manager: ClientManager, events: Events) -> None:
    """Connect Socket.IO's events to ours."""

    def connected(client: str) -> None:
        events.connected(client, socketio.server.eio.sockets[manager.eio_sid_from_sid(client, "/")].outbox)

    def connect(client: str, auth: Any = None) -> None:
        if refusal := events.admit():
            raise ConnectionRefusedError(refusal["code"], refusal)

    def disconnect(client: str, reason: str = "") -> None:
        events.disconnected(client)

    def anything(client: str, name: str, *arguments: Any) -> Any:
        return orjson.Fragment(events.answer(client, name, arguments))

    manager.on_connected = connected
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
