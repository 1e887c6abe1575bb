"""The plain WebSockets and their routes, and their connections to the other parts."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from api.hub.assembly.callers import Callers, retry_after
from api.hub.assembly.market import METRICS_KIND, Market
from api.hub.assembly.transport import Transport
from api.hub.plain.books.rooms import OBSERVERS_ROOM
from api.hub.plain.books.service import PlainBooks
from api.hub.plain.layer import PlainLayer, PlainSettings
from api.hub.plain.metrics.service import PlainMetrics
from api.refresh.service import AccessControl
from config.access.modes import REQUIRED
from config.settings import Settings
from db import topics
from db.topics import kind_of

PLAIN_ROUTES = 2  # each one has `WS_MAX_CONNECTIONS`


def make_plain(settings: Settings, callers: Callers, transport: Transport, market: Market, clock: Callable[[], datetime]) -> PlainLayer:
    """Return the plain WebSockets, with all routes."""
    chosen = PlainSettings(
        max_clients=settings.ws_max_connections,
        heartbeat=settings.ws_heartbeat_interval,
        join=settings.auth_join_seconds,
        required=callers.access.mode == REQUIRED,
        interval=settings.flush_interval_ms / 1000,
    )
    layer = PlainLayer(chosen, transport.engine, callers.authenticator, callers.limits, callers.peers, clock, retry_after, _kind_of)
    metrics = PlainMetrics(layer.fanout, settings.metric_collection_interval, clock)
    market.snapshots.takers.append(metrics.rooms.take)
    market.listeners[topics.OBSERVABILITY_EVENTS].append(metrics.event)
    layer.add(metrics)
    layer.add(PlainBooks(layer.fanout, market.books, market.status, market.known, clock))
    market.relay.after_batch.append(layer.fanout.flush_in_parts)
    return layer


def _kind_of(room: str) -> str:
    """Return the kind of a room: those of `/ws/metrics` are of one kind."""
    return kind_of(room) or ("" if room == OBSERVERS_ROOM else METRICS_KIND)


def connect_plain(plain: PlainLayer, access: AccessControl) -> None:
    """Connect the plain WebSockets to the table of keys."""
    access.tables.listen(lambda change: plain.take(change, lambda: time.sleep(0)))
