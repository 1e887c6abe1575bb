"""Composition root of the REST app."""

from __future__ import annotations

if __name__ == "__main__":  # `python api/app.py`, which finds no module of ours
    import os
    import sys

    os.chdir(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn/rest.py", "wsgi:rest()", *sys.argv[1:]])  # noqa: S606

import threading
import time
from collections import ChainMap
from collections.abc import Callable
from datetime import datetime
from functools import cache, partial

from flask import Flask, Response

from api import asyncapi
from api.access.hosts import Hosts, Origins
from api.access.limits import Budgets, TokenBuckets
from api.access.model import Authenticator
from api.access.peers import Peers
from api.orjson_provider import OrjsonProvider
from api.refresh.measures import AccessMetrics
from api.refresh.service import AccessControl
from api.refresh.table import ANSWER_SECONDS
from api.refused_origins import RefusedOrigins
from api.rest import cors, errors, monitor, request_log, web
from api.rest.access import Gate, guard
from api.rest.context import AppContext, attach
from api.rest.limits import requests as limits
from api.rest.limits import slots
from api.rest.market import overview, stale_after
from api.rest.measures.parts import PartMetrics
from api.rest.measures.processes import AllProcesses
from api.rest.measures.reads import ReadMetrics
from api.rest.measures.requests import RequestMetrics
from api.rest.observability import report_groups, report_symbols, snapshot
from api.rest.observability.current import CurrentMetrics
from api.rest.request_log import template
from api.rest.routes import (
    alerts,
    book_history,
    books,
    candles,
    correlation,
    docs,
    gaps,
    health,
    hubs,
    jobs,
    market,
    metrics,
    positions,
    prices,
    prometheus,
    publish,
    reports,
    scenario_runs,
    scenarios,
    sessions,
    sockets,
    status,
    symbols,
    system,
    trade_reports,
    trades,
    volatility,
)
from api.rest.routing import Routes, make_api
from config.access.modes import REQUIRED
from config.exposition import Exposition
from config.settings import Settings
from config.urls import url_of
from db.bus import Bus
from db.postgres import Store
from db.replicas import Reads, Replica
from health.measures.performance_lines import performance_log
from health.measures.process import new_exposition, reported
from health.probe import HealthProbe
from health.system.state import SystemReader
from health.timing import DEFAULT, Timing

_DATA = [
    symbols.routes,
    market.routes,
    prices.routes,
    publish.routes,
    reports.routes,
    candles.routes,
    trades.routes,
    book_history.routes,
    volatility.routes,
    correlation.routes,
    alerts.routes,
    sessions.routes,
    books.routes,
]
_STATE = [gaps.routes, hubs.routes, jobs.routes, status.routes, scenario_runs.routes, scenarios.routes]
_OBSERVABILITY = [metrics.routes, prometheus.routes, system.routes, trade_reports.routes, positions.routes]

_BRIEF_SECONDS = 0.5  # for figures of Redis in health, which needs none of them
# An answer holds for its moment; static files override this.
_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


def create_app(
    settings: Settings,
    bus: Bus,
    store: Store,
    clock: Callable[[], datetime],
    version: str,
    authenticator: Authenticator | None = None,
    timing: Timing = DEFAULT,
    monotonic: Callable[[], float] = time.monotonic,
    replica: Replica | None = None,
) -> Flask:
    """Return the WSGI app of REST.

    It opens no connection: `bus` and `store` may be unavailable when it starts.
    `clock` returns aware UTC. `authenticator` decides about every request to a route that is not
    open; by default the one of the settings does. Without `start_watch`, each request of `/health`
    runs the checks of health itself, the keys are not read, and no read uses the `replica`.
    `monotonic` is the clock of limits.
    """
    access = AccessControl(settings, bus.with_timeout(ANSWER_SECONDS), store, clock, "rest", lock=threading.Lock())
    app = _make_flask()
    exposition = new_exposition("rest", stores=[store, *([replica.store] if replica else [])])
    reads = Reads(store, replica)
    shared = _make_context(settings, bus, store, reads, clock, version, access, timing, exposition)
    attach(app, shared)
    snapshots = snapshot.attach(app, bus.with_timeout(timing.limit), monotonic)
    report_groups.attach(app, bus)
    report_symbols.attach(app, bus, store, monotonic)
    stale_after.attach(app, reads, clock, settings.ingestion_interval_seconds, monotonic)
    overview.attach(app, shared, monotonic)
    routes = [web.routes, health.make_routes(), *_DATA, *_STATE, *_OBSERVABILITY]
    _register_routes(app, version, routes, anonymous=access.mode != REQUIRED)
    hosts, origins = Hosts((*settings.allowed_hosts, settings.api_host)), Origins(settings.cors_origins)
    cors.register(app, hosts, origins, RefusedOrigins(time.monotonic), access.audit.counts)
    peers = Peers(settings.trusted_proxies)
    inner = authenticator or access.authenticator
    limited = limits.RequestLimits(inner, _budgets(settings, bus, monotonic), settings.rate_requests, peers, access.audit)
    _register_access(app, access, inner, limited, routes, peers)
    app.after_request(_add_headers)
    scope = metrics.routes.scopes["metrics.current"]
    current = CurrentMetrics(app.wsgi_app, snapshots, limited, scope, peers, hosts, origins, clock, _HEADERS.items())
    requests = request_log.attach(app, current)
    app.wsgi_app = requests  # type: ignore[method-assign]  # Flask's documentation wraps it in this way
    endpoints = {template(rule.rule) for rule in app.url_map.iter_rules()}
    for collector in (
        RequestMetrics(requests, endpoints),
        PartMetrics(shared.watch),
        AccessMetrics(access, clock, keys=True),
        ReadMetrics(reads),
    ):
        exposition.register(collector)
    return app


def _make_flask() -> Flask:
    app = Flask(__name__, static_folder=None)
    app.url_map.merge_slashes = False  # it would redirect to an absolute URL, which lacks the path of a proxy
    app.json = OrjsonProvider(app)
    return app


def _make_context(
    settings: Settings,
    bus: Bus,
    store: Store,
    reads: Reads,
    clock: Callable[[], datetime],
    version: str,
    access: AccessControl,
    timing: Timing,
    exposition: Exposition,
) -> AppContext:
    """Return what the routes share."""
    watch = monitor.make_watch(settings, bus, store, clock, timing, reported(exposition, settings.metrics_scope))
    hub_url = url_of(settings.websocket_host, settings.websocket_port)
    return AppContext(
        settings=settings,
        bus=bus,
        brief_bus=bus.with_timeout(_BRIEF_SECONDS),
        store=store,
        reads=reads,
        clock=clock,
        version=version,
        started=clock(),
        database=HealthProbe("database", lambda: monitor.read_database(store)),
        redis=HealthProbe("redis", lambda: monitor.read_redis(bus)),
        watch=watch,
        system=SystemReader(watch, bus.with_timeout(timing.limit), settings.hub_data_dir, clock, timing),
        access=access,
        exposition=exposition,
        metrics=AllProcesses(watch, exposition, settings.api_workers, timing) if settings.metrics_scope == "all" else exposition.families,
        asyncapi=cache(partial(asyncapi.document, version, hub_url.removeprefix("http://"))),
    )


def _register_routes(app: Flask, version: str, routes: list[Routes], *, anonymous: bool) -> None:
    """Add the routes, the pages and the shape of errors. `anonymous` callers need no credential."""
    app.extensions["openapi"] = make_api(app, version, routes, anonymous=anonymous)
    for pages in (docs.pages, web.pages, sockets.pages):
        app.register_blueprint(pages)
    errors.register(app)


def _register_access(
    app: Flask, access: AccessControl, authenticator: Authenticator, limited: limits.RequestLimits, routes: list[Routes], peers: Peers
) -> None:
    """Check credentials, scopes and limits before each request."""
    scopes = dict(ChainMap(docs.SCOPES, web.SCOPES, sockets.SCOPES, *(each.scopes for each in routes)))
    details, others = (dict(ChainMap(*(getattr(each, name) for each in routes))) for name in ("details", "others"))
    limits.register(app)
    guard(app, Gate(authenticator, limited, access.mode, peers, scopes, details, others))
    slots.register(app, peers)


def start_watch(app: Flask) -> None:
    """Start the threads that check and report this process, read the keys and watch the replica.

    They end with the process.
    """
    shared: AppContext = app.extensions["tickwire"]
    monitor.start(shared.watch, request_log.attached(app), performance_log(shared.settings, shared.store))
    monitor.start_access(shared.access)
    if shared.reads.replica is not None:
        monitor.start_replica(shared.reads.replica)


def _budgets(settings: Settings, bus: Bus, monotonic: Callable[[], float]) -> Budgets:
    """Return the budgets of callers, of this process or of all."""
    own = TokenBuckets(monotonic, threading.Lock())
    if settings.rate_storage == "memory":
        return own
    # Loads the package `limits`.
    from api.rest.limits.shared import TIMEOUT_SECONDS, SharedBudgets
    from db.bus.limits.request_windows import RequestWindows

    return SharedBudgets(RequestWindows(bus.with_timeout(TIMEOUT_SECONDS)), own, monotonic)


def _add_headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response
