"""Health of the service and its parts.

Every answer comes within about two seconds, also if a part hangs. `/health`, `/health/db` and the
venues read the same verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from api.access.model import OBSERVE, OPEN
from api.rest.access import sees_details
from api.rest.books.process import last_heartbeat
from api.rest.context import context
from api.rest.routing import Routes
from api.rest.schemas.answers import DatabaseHealthSchema, HealthSchema, LiveSchema, ReadySchema, venue_health_schema
from config.loops import HEARTBEATS
from config.venues import VENUES, Venue
from db.bus import BusError
from db.figures.server_status import health_fields
from db.timestamps import format_time
from health.probe import CONNECTED, ask_all
from health.system.components import ready_collectors, websocket_connections
from health.timing import DEFAULT
from health.verdict import UNHEALTHY, Verdict, with_ages
from health.watch import BUS, DATABASE

SERVICE = "tickwire"


def make_routes() -> Routes:
    """Return the routes of health, with one for each venue that has a `health_path`."""
    routes = Routes("health", "Health of the service and its parts")
    routes.get("/health", HealthSchema, scope=OPEN, details=OBSERVE, fails={503: HealthSchema})(health)
    routes.get("/health/live", LiveSchema, scope=OPEN, fails={503: LiveSchema})(live)
    routes.get("/health/ready", ReadySchema, scope=OPEN, fails={503: ReadySchema})(ready)
    routes.get("/health/db", DatabaseHealthSchema, scope=OPEN, details=OBSERVE, fails={503: DatabaseHealthSchema})(db)
    for venue in VENUES.values():
        if venue.health_path is not None:
            schema = venue_health_schema(venue.name)
            routes.get(venue.health_path, schema, scope=OPEN, details=OBSERVE, fails={503: schema})(_venue_view(venue))
    return routes


def health() -> Any:
    """State of all parts; 503 if one cannot do its work.

    `failing` names the parts that cannot. `bus` is `unreplicated` while messages are accepted
    without confirmation by a replica, and is left out otherwise. Without the scope `observe`, each
    source has its `state` alone, and `writer` has `unstored` alone.
    """
    app = context()
    verdict, now = app.watch.verdict(), app.clock()
    return {
        "status": verdict.status,
        "service": SERVICE,
        "database": app.watch.state(DATABASE, verdict),
        "redis": app.watch.state(BUS, verdict),
        **({"bus": "unreplicated"} if verdict.unreplicated else {}),
        "hub": verdict.hub,
        "failing": sorted(verdict.failing),
        "sources": _sources(verdict, now),
        "writer": _writer(verdict),
        "auth": app.access.mode,
        "access": app.access.table_state,
        **_about(now),
        **_books(verdict),
    }, _code(verdict.status != UNHEALTHY)


def live() -> Any:
    """The process runs, and so do its loops: 503 if one is silent. No other part is checked."""
    app = context()
    about = {"websocket_connections": websocket_connections(app.system.processes()), **_about(app.clock())}
    if silent := sorted(HEARTBEATS.silent()):
        return {"status": "silent", "alive": False, "silent_loops": silent, **about}, 503
    return {"status": "alive", "alive": True, **about}


def ready() -> Any:
    """Ability to serve requests: 503 until database and bus can be read."""
    app = context()
    database, redis = ask_all(app.database, app.redis, patience=DEFAULT.limit)
    well = database is None and redis is None
    return {
        "status": "ready" if well else "not_ready",
        "ready": well,
        "database": database.state if database else CONNECTED,
        "redis": redis.state if redis else CONNECTED,
        "collectors": ready_collectors(app.system.processes()),
        "timestamp": format_time(app.clock()),
    }, _code(well)


def db() -> Any:
    """State of the database only; 503 if it cannot do its work."""
    app = context()
    state = app.watch.state(DATABASE, app.watch.verdict())
    return {
        "status": "healthy" if state == CONNECTED else "unhealthy",
        "database": state,
        "timestamp": format_time(app.clock()),
    }, _code(state == CONNECTED)


def _writer(verdict: Verdict) -> dict[str, Any]:
    """The part `writer`: null counts while the bus is unavailable; details are for observers."""
    unknown = dict.fromkeys(("unstored", "oldest_age_seconds", "parked", "last_parked"))
    writer = unknown if BUS in verdict.failing else dict(verdict.writer)
    return writer if sees_details() else {"unstored": writer["unstored"]}


def _books(verdict: Verdict) -> dict[str, Any]:
    """The fields of `/status` that are no fields of this route; for observers alone.

    They are null while the bus is unavailable, and affect no verdict.
    """
    if not sees_details():
        return {}
    app = context()
    try:
        return health_fields(None if BUS in verdict.failing else last_heartbeat(app.settings, app.brief_bus))
    except BusError:
        return health_fields(None)


def _sources(verdict: Verdict, now: datetime) -> Mapping[str, Mapping[str, Any]]:
    """The part `sources`: all but the states is for observers."""
    if sees_details():
        return with_ages(verdict.sources, now)
    return {name: {"state": report.get("state", "unknown")} for name, report in verdict.sources.items()}


def _venue_view(venue: Venue) -> Callable[[], Any]:
    """Return the view of one venue's source, whose name and docstring name the venue."""

    def view() -> Any:
        return _venue_health(venue)

    view.__name__ = venue.name
    view.__doc__ = (
        f"State of the source `{venue.name}` only, or `not_configured`; 503 while the bus is unavailable.\n\n"
        "Without the scope `observe`, `source` is null."
    )
    return view


def _venue_health(venue: Venue) -> Any:
    app = context()
    verdict, now = app.watch.verdict(), app.clock()
    if BUS in verdict.failing:
        return {"status": "unknown", "source": None, "timestamp": format_time(now)}, 503
    report = _sources(verdict, now).get(venue.name)
    if report is None:
        return {"status": "not_configured", "source": None, "timestamp": format_time(now)}
    source = report if sees_details() else None
    return {"status": report.get("state", "unknown"), "source": source, "timestamp": format_time(now)}


def _about(now: datetime) -> dict[str, Any]:
    app = context()
    uptime = round((now - app.started).total_seconds(), 3)
    return {"uptime_seconds": uptime, "version": app.version, "timestamp": format_time(now)}


def _code(well: bool) -> int:
    return 200 if well else 503
