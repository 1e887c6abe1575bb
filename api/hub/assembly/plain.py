"""The plain WebSockets of `/ws/metrics`, and their connections to the other parts."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from api.hub.assembly.callers import Callers, retry_after
from api.hub.assembly.market import Market
from api.hub.assembly.transport import Transport
from api.hub.plain.service import PlainMetrics, PlainSettings
from api.refresh.service import AccessControl
from config.access.modes import REQUIRED
from config.settings import Settings
from db import topics


def make_plain(settings: Settings, callers: Callers, transport: Transport, clock: Callable[[], datetime]) -> PlainMetrics:
    """Return the plain WebSockets with metrics."""
    chosen = PlainSettings(
        max_clients=settings.ws_max_connections,
        heartbeat=settings.ws_heartbeat_interval,
        join=settings.auth_join_seconds,
        interval=settings.metric_collection_interval,
        required=callers.access.mode == REQUIRED,
    )
    return PlainMetrics(chosen, transport.engine, callers.authenticator, callers.limits, callers.peers, clock, retry_after)


def connect_plain(plain: PlainMetrics, access: AccessControl, market: Market) -> None:
    """Connect the plain WebSockets to the bus, the table of keys and the report of the hub."""
    market.snapshots.takers.append(plain.rooms.take)
    market.listeners[topics.OBSERVABILITY_EVENTS].append(plain.event)
    access.tables.listen(lambda change: plain.clients.rights.take(change, lambda: time.sleep(0)))
    fanouts = (*market.fanouts.values(), plain.fanout)
    market.report.plain_clients = lambda: len(plain.clients)
    market.report.delivered = lambda: sum(each.delivered for each in fanouts)
