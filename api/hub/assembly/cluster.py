"""The hub among the others: its counts, those of all hubs, and its drain."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from flask import request

from api.hub.assembly.callers import Callers
from api.hub.assembly.market import Market
from api.hub.assembly.transport import Transport
from api.hub.cluster.connections import HubConnections
from api.hub.cluster.counts import Cluster
from api.hub.cluster.drain import Drain
from api.hub.cluster.request import DrainRequests
from api.hub.events import MAIN, Events
from api.hub.plain.layer import PlainLayer
from api.hub.schemas.metrics import METRICS_SPACE
from config.settings import Settings
from db.bus import Bus
from health.hubs import subscriptions
from health.timing import Timing


class Membership(NamedTuple):
    """The parts that concern the other hubs."""

    cluster: Cluster
    drain: Drain


def make_membership(
    settings: Settings,
    bus: Bus,
    clock: Callable[[], datetime],
    timing: Timing,
    callers: Callers,
    transport: Transport,
    market: Market,
    plain: PlainLayer,
    events: Events,
) -> Membership:
    """Return the parts, connected to the report and to `server_stats`; `/hub/drain` has a route."""
    manager = transport.socketio.server.manager
    connections = HubConnections(transport.engine, manager, market.fanouts, plain, lambda: market.reports.busy, METRICS_SPACE)
    drain = Drain(
        connections,
        delay=settings.hub_drain_delay,
        seconds=settings.hub_drain_seconds,
        last=market.reports.close,
        start=transport.socketio.start_background_task,
    )
    market.report.figures = lambda: _figures(connections, market, plain, events)
    market.report.draining = lambda: drain.begun
    cluster = Cluster(bus.with_timeout(timing.limit), lambda: (market.report.name, market.report.counts()), clock, timing)
    events.cluster = cluster.figures
    requests = DrainRequests(drain, callers.authenticator, callers.peers, callers.access.audit, lambda: len(market.clients) + len(plain))
    transport.app.add_url_rule("/hub/drain", "drain", methods=["POST"], view_func=lambda: requests.answer(request.environ))
    return Membership(cluster, drain)


def _figures(connections: HubConnections, market: Market, plain: PlainLayer, events: Events) -> dict[str, Any]:
    """Return the counts of the part `hub` that change."""
    lag = market.relay.times.lag
    return {
        "plain_clients": len(plain),
        "connections": len(connections.open()),
        **subscriptions(events.market.prices.count(market.fanouts[MAIN].members())),
        "delivered": sum(each.delivered for each in (*market.fanouts.values(), plain.fanout)),
        "relay_lag_seconds": None if lag is None else round(lag, 4),
    }
