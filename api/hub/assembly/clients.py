"""The events of Socket.IO clients, and their connections to the other parts."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import datetime
from functools import partial

from api.hub.alerts.requests import AlertRequests
from api.hub.assembly.callers import Callers, retry_after
from api.hub.assembly.instruments import Catalogue
from api.hub.assembly.market import Market, current
from api.hub.assembly.transport import Transport, register_handlers
from api.hub.events import Events
from api.hub.metrics.events import MetricsEvents
from api.hub.stats import Stats
from api.refresh.service import AccessControl
from config.settings import Settings
from db.bus import Bus
from db.instrument_changes import InstrumentChanges
from db.timestamps import format_time

MAX_REPORTS_MESSAGE_BYTES = 2**20  # as in REST: 500 reports with 2 KiB of metadata each


def make_events(
    settings: Settings, callers: Callers, market: Market, transport: Transport, stats: Stats, clock: Callable[[], datetime]
) -> Events:
    """Return the events of clients."""
    series = partial(current, topic_log=market.topic_log, feed=market.feed)
    return Events(
        market.fanouts,
        market.topic_log,
        market.instruments,
        AlertRequests(market.rules, market.known, series, prefix=uuid.uuid4().hex[:6]),
        callers.authenticator,
        books=market.books,
        max_clients=settings.websocket_max_clients,
        replay_bytes=settings.replay_limit_bytes,
        ping_interval=settings.websocket_ping_interval,
        ping_timeout=settings.websocket_ping_timeout,
        timestamp=lambda: format_time(clock()),
        stats=stats,
        retry_after=retry_after,
        peers=callers.peers,
        clients=market.clients,
        connections=transport.socketio.server,
        limits=callers.limits,
        clock=clock,
        metrics=MetricsEvents(market.metrics, market.reports, market.acknowledgements, clock),
    )


def connect(events: Events, access: AccessControl, changes: InstrumentChanges, transport: Transport, market: Market, bus: Bus) -> None:
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
    events.metrics.set_symbols(each.symbol for each in changes.instruments)
    register_handlers(transport.socketio, events, market.fanouts)
