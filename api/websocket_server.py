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
from typing import Any, NamedTuple

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
from api.hub.alerts.notifier import AlertNotifier
from api.hub.alerts.requests import AlertRequests
from api.hub.alerts.rules import RuleIndex, Series
from api.hub.alerts.volatility_feed import VolatilityFeed
from api.hub.application import Hub
from api.hub.clients import Clients
from api.hub.events import MAIN, Events, namespaces
from api.hub.fanout import Fanout
from api.hub.health import HubHealth
from api.hub.metrics.acknowledgements import Acknowledgements
from api.hub.metrics.events import MetricsEvents
from api.hub.metrics.report_queue import ReportQueue
from api.hub.metrics.rooms import MetricsRooms, SnapshotFeed
from api.hub.own_report import REPORT_ROUND_SECONDS, HubReport
from api.hub.plain.service import PlainMetrics, PlainSettings
from api.hub.relay import Listener, Relay
from api.hub.rights.audience import Audience
from api.hub.rights.limits import HubLimits
from api.hub.schemas.metrics import METRICS_SPACE
from api.hub.schemas.requests import PRICE
from api.hub.stats import Stats
from api.hub.topic_log import TopicLog
from api.hub.transport.engineio_server import EngineServer
from api.hub.transport.eventlet_loop import ClientManager, Eventlet, detach, make_socketio, wait_for_socket
from api.hub.transport.host import Limits
from api.hub.transport.limits.callers import AT_ONCE, CallerBuckets
from api.hub.transport.web.door import Door
from api.hub.transport.web.early import EarlyCredentials
from api.refresh.leases import LeaseLoop
from api.refresh.service import AccessControl
from api.refresh.table import ANSWER_SECONDS
from api.refused_origins import RefusedOrigins
from config.access.modes import OFF, REQUIRED
from config.http_errors import http_error_body
from config.loops import HEARTBEATS, PROCESS_END, BeatingStop, keep
from config.pacing import Outage, backoff, retry
from config.process.acceptor import ACCEPTOR
from config.process.descriptors import make_room
from config.settings import Settings
from db import topics
from db.bus import Bus, ReportLimits
from db.instrument_changes import InstrumentChanges
from db.instruments import Instrument
from db.postgres import Store, StoreError, cooperate
from db.sessions import MarketSession, all_sessions
from db.timestamps import format_time
from health.timing import DEFAULT, Timing

log = logging.getLogger(__name__)

RELAY_ROUND_SECONDS = 10 / 3  # the longest round: a relay that is silent for 10 s does not work
LEASE_ROUND_SECONDS = 10.0  # a round waits for one answer of Redis
REPORTS_ROUND_SECONDS = 10.0  # likewise
MAX_REPORTS_MESSAGE_BYTES = 2**20  # as in REST: 500 reports with 2 KiB of metadata each
FEED_ROUND_SECONDS = 30.0  # a read of the store may wait for a connection and for its statement
SILENT_DATABASE_SECONDS = 5.0  # beyond the limit of a statement


class _Loop(NamedTuple):
    """A loop of the hub; a round takes at most `seconds`."""

    name: str
    run: Callable[[threading.Event], None]
    seconds: float


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
        self._events.metrics.set_symbols(each.symbol for each in after)
        self._events.set_instruments(names, lambda: time.sleep(0))


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
    room = make_room(settings.websocket_max_clients, settings.ws_max_connections)
    settings = replace(settings, websocket_max_clients=room.clients, ws_max_connections=room.plain)
    stop = threading.Event()
    changes, sessions = _reference_data(bus, store, stop)
    callers = _callers(settings, bus, store, clock, authenticator)
    market = _market(settings, bus, store, clock, _enabled(changes.instruments), timing)
    transport = _transport(settings, callers, replace(_limits(settings), max_unjoined=room.sessions - room.clients))
    plain = _plain(settings, callers, transport, clock)
    leases = LeaseLoop(bus.with_timeout(ANSWER_SECONDS), callers.limits.connections, uuid.uuid4().hex[:12], plain.end_surplus)
    events = _events(settings, callers, market, transport, Stats(market.relay, transport.engine, sessions, clock), clock)
    _connect(events, callers.access, changes, transport, market, bus)
    _connect_plain(plain, callers.access, market)
    health = _health(callers, market.relay, transport, stop)
    events.metrics.set_symbols(each.symbol for each in changes.instruments)
    market.feed.read()  # so that new rules begin with the present figures
    callers.access.begin()
    _start_loops(transport.socketio, _loops(market, changes, callers.access, leases), stop)
    hosts, origins = Hosts((*settings.allowed_hosts, settings.websocket_host)), Origins(settings.cors_origins)
    door = Door(plain.route(transport.app, detach), hosts, origins, RefusedOrigins(time.monotonic))
    early = EarlyCredentials(transport.engine.credentials, callers.peers, hosts, origins)
    parts = (market.fanouts, market.relay, market.report, market.reports, leases, health, callers.access, early, plain, stop)
    return Hub(door, transport.engine, *parts)


# the parts, in the order of their creation


class _Callers(NamedTuple):
    """Access control, and the limits of callers."""

    access: AccessControl
    authenticator: Authenticator
    peers: Peers
    limits: HubLimits


class _Market(NamedTuple):
    """The way of a message from the bus to the clients. `known` changes with the instruments."""

    instruments: list[str]
    known: set[str]
    fanouts: dict[str, Fanout]
    clients: Clients
    topic_log: TopicLog
    rules: RuleIndex
    feed: VolatilityFeed
    report: HubReport
    relay: Relay
    metrics: MetricsRooms
    reports: ReportQueue
    acknowledgements: Acknowledgements
    snapshots: SnapshotFeed
    listeners: dict[str, list[Listener]]  # channel -> its listeners


class _Transport(NamedTuple):
    """Flask, Socket.IO and Engine.IO."""

    app: Flask
    manager: ClientManager
    socketio: SocketIO
    engine: EngineServer


def _callers(settings: Settings, bus: Bus, store: Store, clock: Callable[[], datetime], authenticator: Authenticator | None) -> _Callers:
    access = AccessControl(settings, bus.with_timeout(ANSWER_SECONDS), store, clock, "hub")
    peers = Peers(settings.trusted_proxies)
    per_address = settings.rate_connections_per_ip
    connections = ConnectionCounts(settings.rate_connections, per_address, time.monotonic, peers, access.audit, _retry_after)
    limits = HubLimits(connections, CallerBuckets(settings.rate_events, time.monotonic), access.audit)
    return _Callers(access, authenticator or access.authenticator, peers, limits)


def _market(settings: Settings, bus: Bus, store: Store, clock: Callable[[], datetime], instruments: list[str], timing: Timing) -> _Market:
    fanouts = {namespace: Fanout(time.monotonic, Eventlet().call_later, namespace) for namespace in namespaces()}
    topic_log, rules, known, clients = TopicLog(), RuleIndex(), set(instruments), Clients()
    notifier = AlertNotifier(rules, fanouts[MAIN], lambda: format_time(clock()))
    feed = VolatilityFeed(store, notifier.volatility)
    report = HubReport(settings, bus, clock, lambda: sum(len(each.clients()) for each in fanouts.values()), timing)
    metrics = MetricsRooms(fanouts[METRICS_SPACE])
    snapshots = SnapshotFeed(clock, [metrics.update])
    listeners: dict[str, list[Listener]] = {
        topics.PRICES: [notifier.price],
        topics.DATA_READY: [feed.data_ready],
        topics.METRICS: [snapshots.received],
        topics.OBSERVABILITY_EVENTS: [metrics.event],
    }
    by_rights, begin = Audience(clients, fanouts).send, partial(_take_latest, bus, snapshots)
    relay = Relay(bus, topic_log, fanouts, known, listeners, report.received, by_rights, begin=begin)
    reports = ReportQueue(bus, ReportLimits(settings.reports_rate, settings.report_dedupe_seconds), clock)
    acknowledgements = Acknowledgements(store, clock)
    return _Market(
        instruments,
        known,
        fanouts,
        clients,
        topic_log,
        rules,
        feed,
        report,
        relay,
        metrics,
        reports,
        acknowledgements,
        snapshots,
        listeners,
    )


def _take_latest(bus: Bus, snapshots: SnapshotFeed) -> None:
    """Begin with the newest snapshot of the metrics, if Redis keeps one."""
    if latest := bus.latest_snapshot():
        snapshots.take(latest.body())


def _transport(settings: Settings, callers: _Callers, limits: Limits) -> _Transport:
    app = Flask(__name__, static_folder=None)
    app.register_error_handler(HTTPException, _http_error)
    manager = ClientManager()
    audit = callers.access.audit
    handshakes = None if callers.access.mode == OFF else LimitedHandshakes(callers.authenticator, callers.limits.connections)
    socketio = make_socketio(app, manager, limits, peers=callers.peers, authenticator=handshakes, audit=audit)
    engine: EngineServer = socketio.server.eio
    engine.places.note_refusal = lambda address: audit.limited(None, address, RATE_CONNECTIONS_PER_IP)
    return _Transport(app, manager, socketio, engine)


def _events(
    settings: Settings, callers: _Callers, market: _Market, transport: _Transport, stats: Stats, clock: Callable[[], datetime]
) -> Events:
    current = partial(_current, topic_log=market.topic_log, feed=market.feed)
    return Events(
        market.fanouts,
        market.topic_log,
        market.instruments,
        AlertRequests(market.rules, market.known, current, prefix=uuid.uuid4().hex[:6]),
        callers.authenticator,
        max_clients=settings.websocket_max_clients,
        replay_bytes=settings.replay_limit_bytes,
        ping_interval=settings.websocket_ping_interval,
        ping_timeout=settings.websocket_ping_timeout,
        timestamp=lambda: format_time(clock()),
        stats=stats,
        retry_after=_retry_after,
        peers=callers.peers,
        clients=market.clients,
        connections=transport.socketio.server,
        limits=callers.limits,
        clock=clock,
        metrics=MetricsEvents(market.metrics, market.reports, market.acknowledgements, clock),
    )


def _connect(events: Events, access: AccessControl, changes: InstrumentChanges, transport: _Transport, market: _Market, bus: Bus) -> None:
    """Connect the events to the transport, to the table of keys and to the instruments."""
    server = transport.socketio.server

    def let_others_run() -> None:
        time.sleep(0)

    def connected(client: str, namespace: str) -> None:
        session = server.session_of(client, namespace)
        events.connected(client, session.outbox, session.bucket)
        if events.may_report(client):
            session.allow(MAX_REPORTS_MESSAGE_BYTES)

    transport.manager.on_connected = connected
    transport.engine.each_tick.append(lambda: events.rights.tick(let_others_run))
    access.tables.listen(lambda change: events.rights.take(change, let_others_run))
    changes.listen(Catalogue(bus, market.topic_log, market.known, events).take)
    register_handlers(transport.socketio, events, market.fanouts)


def _plain(settings: Settings, callers: _Callers, transport: _Transport, clock: Callable[[], datetime]) -> PlainMetrics:
    """Return the plain WebSockets with metrics."""
    chosen = PlainSettings(
        max_clients=settings.ws_max_connections,
        heartbeat=settings.ws_heartbeat_interval,
        join=settings.auth_join_seconds,
        interval=settings.metric_collection_interval,
        required=callers.access.mode == REQUIRED,
    )
    return PlainMetrics(chosen, transport.engine, callers.authenticator, callers.limits, callers.peers, clock, _retry_after)


def _connect_plain(plain: PlainMetrics, access: AccessControl, market: _Market) -> None:
    """Connect the plain WebSockets to the bus, the table of keys and the report of the hub."""
    market.snapshots.takers.append(plain.rooms.take)
    market.listeners[topics.OBSERVABILITY_EVENTS].append(plain.event)
    access.tables.listen(lambda change: plain.clients.rights.take(change, lambda: time.sleep(0)))
    fanouts = (*market.fanouts.values(), plain.fanout)
    market.report.plain_clients = lambda: len(plain.clients)
    market.report.delivered = lambda: sum(each.delivered for each in fanouts)


def _health(callers: _Callers, relay: Relay, transport: _Transport, stop: threading.Event) -> HubHealth:
    """Return the answer of `/hub/health`, which has a route from now on."""
    sockets = transport.engine.sockets
    health = HubHealth(
        relay, callers.access, callers.authenticator, callers.peers, lambda: _serves(stop), lambda: {"sessions": len(sockets)}
    )
    transport.app.add_url_rule("/hub/health", view_func=lambda: health.answer(request.environ))
    return health


def _loops(market: _Market, changes: InstrumentChanges, access: AccessControl, leases: LeaseLoop) -> list[_Loop]:
    """Return the loops of the hub. The alert notifier runs in that of the relay."""
    loops = [
        _Loop("relay", market.relay.run, RELAY_ROUND_SECONDS),
        _Loop("volatility-feed", market.feed.run, FEED_ROUND_SECONDS),
        _Loop("report", market.report.run, REPORT_ROUND_SECONDS),
        _Loop("bot-reports", market.reports.run, REPORTS_ROUND_SECONDS),
        _Loop("acknowledgements", market.acknowledgements.run, FEED_ROUND_SECONDS),
        _Loop("instruments", changes.run, FEED_ROUND_SECONDS),
        _Loop("access", access.run, FEED_ROUND_SECONDS),
        _Loop("leases", leases.run, LEASE_ROUND_SECONDS),
    ]
    if access.token_keys is not None:
        loops.append(_Loop("token-keys", access.token_keys.run, FEED_ROUND_SECONDS))
    return loops


def _start_loops(socketio: SocketIO, loops: Iterable[_Loop], stop: threading.Event) -> None:
    for name, loop, seconds in loops:
        HEARTBEATS.expect(name, seconds)
        socketio.start_background_task(keep, name, partial(loop, BeatingStop(stop, name)), stop.is_set, PROCESS_END)


def _retry_after() -> float:
    """Return seconds with jitter, so that refused clients do not come back all at once."""
    return round(random.uniform(5.0, 15.0), 2)  # noqa: S311


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
        return events.answer(client, name, arguments)

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
