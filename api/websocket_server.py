"""The composition root of the hub: a WSGI application with its relay and its volatility feed."""

from __future__ import annotations

if __name__ == "__main__":  # `python api/websocket_server.py`, which finds no module of ours
    import os
    import sys

    os.chdir(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn/hub.py", "wsgi:hub()", *sys.argv[1:]])  # noqa: S606

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from api.access.hosts import Hosts, Origins
from api.access.model import Authenticator
from api.hub.application import Hub
from api.hub.assembly.callers import make_callers
from api.hub.assembly.clients import connect, make_events
from api.hub.assembly.cluster import make_membership
from api.hub.assembly.instruments import enabled, read_reference_data
from api.hub.assembly.loops import loops_of, make_health, start_loops
from api.hub.assembly.market import make_market
from api.hub.assembly.measures import make_measures
from api.hub.assembly.plain import PLAIN_ROUTES, connect_plain, make_plain
from api.hub.assembly.transport import choose_loop, make_transport
from api.hub.stats import Stats
from api.hub.transport.eventlet_loop import detach, wait_for_socket
from api.hub.transport.web.door import Door
from api.hub.transport.web.early import EarlyCredentials
from api.refresh.leases import LeaseLoop
from api.refresh.table import ANSWER_SECONDS
from api.refused_origins import RefusedOrigins
from config.process.descriptors import make_room
from config.settings import Settings
from db.bus import Bus
from db.postgres import Store, cooperate
from health.measures.process import new_exposition, reported
from health.timing import DEFAULT, Timing

SILENT_DATABASE_SECONDS = 5.0  # beyond the limit of a statement


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
    choose_loop(settings)
    cooperate(wait_for_socket, settings.db_timeout_ms / 1000 + SILENT_DATABASE_SECONDS)
    room = make_room(settings.websocket_max_clients, PLAIN_ROUTES * settings.ws_max_connections)
    settings = replace(settings, websocket_max_clients=room.clients, ws_max_connections=max(1, room.plain // PLAIN_ROUTES))
    stop = threading.Event()
    changes, sessions = read_reference_data(bus, store, stop)
    callers = make_callers(settings, bus, store, clock, authenticator)
    exposition = new_exposition("hub", stores=[store])
    families = reported(exposition, settings.metrics_scope)
    market = make_market(settings, bus, store, clock, enabled(changes.instruments), timing, families)
    transport = make_transport(settings, callers, max_unjoined=room.sessions - room.clients)
    plain = make_plain(settings, callers, transport, market, clock)
    leases = LeaseLoop(bus.with_timeout(ANSWER_SECONDS), callers.limits.connections, uuid.uuid4().hex[:12], plain.end_surplus)
    stats = Stats(market.relay, transport.engine, sessions, clock, settings.flush_interval_ms)
    events = make_events(settings, callers, market, transport, stats, clock)
    connect(events, callers.access, changes, transport, market, bus)
    connect_plain(plain, callers.access)
    cluster, drain = make_membership(settings, bus, clock, timing, callers, transport, market, plain, events)
    health = make_health(callers, market.relay, transport, stop, lambda: drain.begun)
    market.feed.read()  # so that new rules begin with the present figures
    callers.access.begin()
    measures = make_measures(settings, store, exposition, callers, transport, market, plain, events, clock)
    start_loops(transport.socketio, loops_of(market, changes, callers.access, leases, measures, cluster), stop)
    hosts, origins = Hosts((*settings.allowed_hosts, settings.websocket_host)), Origins(settings.cors_origins)
    door = Door(plain.routes(transport.app, detach), hosts, origins, RefusedOrigins(time.monotonic), callers.access.audit.counts)
    early = EarlyCredentials(transport.engine.credentials, callers.peers, hosts, origins)
    parts = (drain, market.relay, market.report, market.reports, leases, health, callers.access, early, plain, stop)
    return Hub(door, transport.engine, *parts)
