"""The composition root of the hub: a WSGI application with its relay and its volatility feed."""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any

import orjson
from flask import Flask, request
from flask_socketio import SocketIO
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from api.access.connections import ConnectionCounts, LimitedHandshakes
from api.access.hosts import Hosts, Origins
from api.access.limits import RATE_CONNECTIONS_PER_IP
from api.access.model import Authenticator
from api.access.peers import Peers
from api.errors import ErrorCode, error_body
from api.hub.alerts.notifier import AlertNotifier
from api.hub.alerts.requests import AlertRequests
from api.hub.alerts.rules import RuleIndex, Series
from api.hub.alerts.volatility_feed import VolatilityFeed
from api.hub.clients import Clients
from api.hub.events import MAIN, Events, namespaces
from api.hub.fanout import Fanout
from api.hub.health import HubHealth
from api.hub.own_report import REPORT_ROUND_SECONDS, HubReport
from api.hub.relay import Relay
from api.hub.rights.audience import Audience
from api.hub.rights.limits import HubLimits
from api.hub.schemas.requests import PRICE
from api.hub.stats import Stats
from api.hub.topic_log import TopicLog
from api.hub.transport.engineio_server import EngineServer
from api.hub.transport.eventlet_loop import ClientManager, Protocol, make_socketio, wait_for_socket
from api.hub.transport.host import Limits
from api.hub.transport.http_requests import Refused
from api.hub.transport.limits.bucket import Bucket
from api.hub.transport.limits.callers import AT_ONCE, CallerBuckets
from api.hub.transport.outbox import Outbox
from api.hub.transport.session import Session
from api.hub.transport.web.door import Application, Door
from api.refresh.leases import LEASE_TIMEOUT_SECONDS, LeaseLoop
from api.refresh.service import AccessControl
from api.refused_origins import RefusedOrigins
from config.access.modes import OFF
from config.http_errors import http_error_body
from config.loops import HEARTBEATS, PROCESS_END, BeatingStop, keep
from config.pacing import Outage, backoff, retry
from config.process.acceptor import ACCEPTOR
from config.process.descriptors import make_room
from config.settings import Settings
from db import topics
from db.bus import Bus
from db.instrument_changes import InstrumentChanges
from db.instruments import Instrument
from db.postgres import Store, StoreError, cooperate
from db.sessions import MarketSession, all_sessions
from db.timestamps import format_time
from health.timing import DEFAULT, Timing

log = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0  # at a shutdown, for all outboxes together
FLUSH_POLL_SECONDS = 0.02
RELAY_ROUND_SECONDS = 10 / 3  # the longest round: a relay that is silent for 10 s does not work
LEASE_ROUND_SECONDS = 10.0  # a round waits for one answer of Redis
FEED_ROUND_SECONDS = 30.0  # a read of the store may wait for a connection and for its statement
SILENT_DATABASE_SECONDS = 5.0  # beyond the limit of a statement
_NOT_NOW = Refused(3, "The server is starting or stopping", "503 Service Unavailable")


class Catalogue:
    """The instruments of this hub; `take` runs in the greenlet that notices changes."""

    def __init__(self, bus: Bus, topic_log: TopicLog, known: set[str], events: Events) -> None:
        self._bus = bus
        self._log = topic_log
        self._known = known  # shared with the parts that check names
        self._events = events

    def take(self, before: Sequence[Instrument], after: Sequence[Instrument]) -> None:
        """Serve the enabled instruments of `after`."""
        names = _enabled(after)
        if added := [name for name in names if name not in self._known]:
            self._log.seed_latest(self._bus.latest_prices(added))  # of instruments that were enabled before
        self._known.update(added)
        self._known.intersection_update(names)
        self._events.set_instruments(names, lambda: time.sleep(0))


class Hub:
    """The running hub: a WSGI application with an orderly shutdown."""

    def __init__(
        self,
        app: Application,
        engine: EngineServer,
        fanouts: Mapping[str, Fanout],
        relay: Relay,
        report: HubReport,
        health: HubHealth,
        access: AccessControl,
        stop: threading.Event,
    ) -> None:
        # the class with which the HTTP server must read the hub's connections
        self.protocol = Protocol.with_places(engine.places)
        self._app = app
        self._engine = engine
        self._fanouts = fanouts
        self._relay = relay
        self._report = report
        self._health = health
        self._access = access
        self._stop = stop

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        # Before the log is filled, the hub cannot serve the missed messages of a client. Before the
        # keys are read, it cannot accept a client that needs one.
        ready = self._relay.loaded and self._health.accepts
        early = not ready and environ.get("PATH_INFO", "").startswith("/socket.io/")
        if (early or self._stop.is_set()) and "sid=" not in environ.get("QUERY_STRING", ""):
            headers = [("Content-Type", "application/json"), ("Retry-After", "2"), ("Connection", "close")]
            start_response("503 Service Unavailable", headers)
            return [_NOT_NOW.body]
        return self._app(environ, start_response)

    def shutdown(self) -> None:
        """Send every client an `error` with `retry_after`, then close its transport.

        Takes at most `FLUSH_SECONDS`.
        """
        self._stop.set()
        clients = [(fanout, client) for fanout in self._fanouts.values() for client in fanout.clients()]
        log.info("hub stops", extra={"clients": len(clients)})
        for fanout, client in clients:
            # Jitter, so that the clients do not reconnect all at once.
            details = {"retry_after": round(random.uniform(1.0, 5.0), 2)}  # noqa: S311
            body = error_body(ErrorCode.UNAVAILABLE, "The server restarts; please reconnect.", "disconnect", details)
            fanout.emit(client, "error", orjson.dumps(body))
        deadline = time.monotonic() + FLUSH_SECONDS
        self._report.drain()
        while self._engine.waiting_bytes() and time.monotonic() < deadline:
            time.sleep(FLUSH_POLL_SECONDS)
        self._engine.close_all()
        while self._engine.closing and time.monotonic() < deadline:
            time.sleep(FLUSH_POLL_SECONDS)
        self._access.wait_for_end(deadline - time.monotonic())
        self._report.close()


def create_hub(
    settings: Settings,
    bus: Bus,
    store: Store,
    clock: Callable[[], datetime],
    authenticator: Authenticator | None = None,
    timing: Timing = DEFAULT,
) -> Hub:
    """Build and start the hub; waits until PostgreSQL has returned the reference data.

    `authenticator` decides about every client; by default the one of the settings does.
    """
    cooperate(wait_for_socket, settings.db_timeout_ms / 1000 + SILENT_DATABASE_SECONDS)
    room = make_room(settings.websocket_max_clients)
    settings = replace(settings, websocket_max_clients=room.clients)
    stop = threading.Event()
    changes, sessions = _reference_data(bus, store, stop)
    instruments = _enabled(changes.instruments)
    access = AccessControl(settings, bus, store, clock, "hub")
    authenticator = authenticator or access.authenticator
    app = Flask(__name__, static_folder=None)
    # `events` is made below: no client connects before this function returns.
    manager = ClientManager(lambda client, namespace: events.connected(client, *_path_of(socketio.server.session_of(client, namespace))))
    peers = Peers(settings.trusted_proxies)
    callers = _caller_limits(settings, peers, access)
    limits = replace(_limits(settings), max_unjoined=room.sessions - room.clients)
    handshakes = None if access.mode == OFF else LimitedHandshakes(authenticator, callers.connections)
    socketio = make_socketio(app, manager, limits, peers=peers, authenticator=handshakes)
    engine: EngineServer = socketio.server.eio
    engine.places.note_refusal = lambda address: access.audit.limited(None, address, RATE_CONNECTIONS_PER_IP)
    leases = LeaseLoop(bus.with_timeout(LEASE_TIMEOUT_SECONDS), callers.connections, uuid.uuid4().hex[:12], engine.end_surplus)
    fanouts = {namespace: Fanout(time.monotonic, engine.loop.call_later, namespace) for namespace in namespaces()}
    topic_log, rules, known, clients = TopicLog(), RuleIndex(), set(instruments), Clients()
    notifier = AlertNotifier(rules, fanouts[MAIN], lambda: format_time(clock()))
    feed = VolatilityFeed(store, notifier.volatility)
    report = HubReport(settings, bus, clock, lambda: sum(len(each.clients()) for each in fanouts.values()), timing)
    listeners = {topics.PRICES: [notifier.price], topics.DATA_READY: [feed.data_ready]}
    relay = Relay(bus, topic_log, fanouts, known, listeners, report.received, Audience(clients, fanouts).send)
    events = Events(
        fanouts,
        topic_log,
        instruments,
        AlertRequests(rules, known, lambda series: _current(series, topic_log, feed), prefix=uuid.uuid4().hex[:6]),
        authenticator,
        max_clients=settings.websocket_max_clients,
        replay_bytes=settings.replay_limit_bytes,
        ping_interval=settings.websocket_ping_interval,
        ping_timeout=settings.websocket_ping_timeout,
        timestamp=lambda: format_time(clock()),
        stats=Stats(relay, engine, sessions, clock),
        retry_after=_retry_after,
        peers=peers,
        clients=clients,
        connections=socketio.server,
        limits=callers,
        clock=clock,
    )
    engine.each_tick.append(events.rights.tick)
    access.tables.listen(lambda change: events.rights.take(change, lambda: time.sleep(0)))
    changes.listen(Catalogue(bus, topic_log, known, events).take)
    register_handlers(socketio, events, fanouts)
    app.register_error_handler(HTTPException, _http_error)
    health = HubHealth(relay, access, authenticator, peers, lambda: _serves(stop), lambda: {"sessions": len(engine.sockets)})
    app.add_url_rule("/hub/health", view_func=lambda: health.answer(request.environ))
    feed.read()  # so that new rules begin with the present figures
    access.begin()
    _start_loops(socketio, relay, feed, report, changes, access, leases, stop)
    hosts = Hosts((*settings.allowed_hosts, settings.websocket_host))
    door = Door(app, hosts, Origins(settings.cors_origins), RefusedOrigins(time.monotonic))
    return Hub(door, engine, fanouts, relay, report, health, access, stop)


def _start_loops(
    socketio: SocketIO,
    relay: Relay,
    feed: VolatilityFeed,
    report: HubReport,
    changes: InstrumentChanges,
    access: AccessControl,
    leases: LeaseLoop,
    stop: threading.Event,
) -> None:
    """Start the loops of the hub. The alert notifier runs in that of the relay."""
    loops = [
        ("relay", relay.run, RELAY_ROUND_SECONDS),
        ("volatility-feed", feed.run, FEED_ROUND_SECONDS),
        ("report", report.run, REPORT_ROUND_SECONDS),
        ("instruments", changes.run, FEED_ROUND_SECONDS),
        ("access", access.run, FEED_ROUND_SECONDS),
        ("leases", leases.run, LEASE_ROUND_SECONDS),
    ]
    if access.token_keys is not None:
        loops.append(("token-keys", access.token_keys.run, FEED_ROUND_SECONDS))
    for name, loop, seconds in loops:
        HEARTBEATS.expect(name, seconds)
        socketio.start_background_task(keep, name, partial(loop, BeatingStop(stop, name)), stop.is_set, PROCESS_END)


def _caller_limits(settings: Settings, peers: Peers, access: AccessControl) -> HubLimits:
    per_address = settings.rate_connections_per_ip
    connections = ConnectionCounts(settings.rate_connections, per_address, time.monotonic, peers, access.audit, _retry_after)
    return HubLimits(connections, CallerBuckets(settings.rate_events, time.monotonic), access.audit)


def _retry_after() -> float:
    """Return seconds with jitter, so that refused clients do not come back all at once."""
    return round(random.uniform(5.0, 15.0), 2)  # noqa: S311


def _path_of(session: Session) -> tuple[Outbox, Bucket]:
    """Return the way to a client, and the tokens of the way back."""
    return session.outbox, session.bucket


def _limits(settings: Settings) -> Limits:
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


def _current(series: Series, topic_log: TopicLog, feed: VolatilityFeed) -> Decimal | None:
    """Return the present value of a series, with which a new rule begins."""
    instrument, metric = series
    if metric == PRICE:
        body = topic_log.latest(instrument)
        return None if body is None else Decimal(orjson.loads(body)["price"]["mid"])
    figure = feed.current(instrument)
    return None if figure is None else Decimal(repr(figure))


def _serves(stop: threading.Event) -> bool:
    """Return True if the hub accepts connections, works, and is not about to stop."""
    return not stop.is_set() and not ACCEPTOR.pausing and not HEARTBEATS.silent()


def _http_error(error: HTTPException) -> tuple[dict[str, Any], int, list[tuple[str, str]]] | BaseResponse:
    """Give the errors of routes outside `/socket.io/` our shape."""
    if error.code is None or error.code < 400:
        return error.get_response()
    body = http_error_body(error.name.lower().replace(" ", "_"), error.description or error.name)
    return body, error.code, [header for header in error.get_headers() if header[0] != "Content-Type"]


def register_handlers(socketio: SocketIO, events: Events, fanouts: Mapping[str, Fanout]) -> None:
    """Connect the events of Socket.IO to ours, in each namespace."""

    def disconnect(client: str, reason: str = "") -> None:
        events.disconnected(client)

    def any_event(client: str, name: str, *arguments: Any) -> Any:
        return orjson.Fragment(events.answer(client, name, arguments))

    for namespace in fanouts:
        socketio.on_event("connect", events.admit, namespace=namespace)
        socketio.on_event("disconnect", disconnect, namespace=namespace)
        socketio.on_event("*", any_event, namespace=namespace)


def _enabled(instruments: Iterable[Instrument]) -> list[str]:
    return [each.symbol for each in instruments if each.enabled]


def _reference_data(bus: Bus, store: Store, stop: threading.Event) -> tuple[InstrumentChanges, list[MarketSession]]:
    """Return instruments and market sessions, which check messages; waits for the store."""
    changes = InstrumentChanges(bus, store)

    def read() -> tuple[InstrumentChanges, list[MarketSession]]:
        changes.read()
        with store.transaction() as cursor:
            return changes, all_sessions(cursor)

    outage = Outage(log, "hub waits for the store", monotonic=time.monotonic)
    pause = partial(backoff, first=0.5, longest=5.0, jitter=1.0, spread=0.0)
    return retry(read, on=StoreError, stop=stop, outage=outage, pause=pause)
