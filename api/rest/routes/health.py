"""Health of the service and its parts.

Every answer comes within about two seconds, also if a part hangs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from api.access.model import OPEN
from api.rest.context import context
from api.rest.probe import ask_all
from api.rest.routing import Routes
from api.rest.schemas.answers import DatabaseHealthSchema, HealthSchema, LiveSchema, ReadySchema, venue_health_schema
from config.venues import VENUES, Venue
from db.bus import Bus, Parked
from db.postgres import Store
from db.prices import table_exists
from db.timestamps import format_time, parse_time

_STALE_AFTER = timedelta(seconds=15)
_DEGRADED = timedelta(hours=1)  # after a malformed entry
_CONNECTED, _DISCONNECTED = "connected", "disconnected"


def make_routes() -> Routes:
    """Return the routes of health, with one for each venue that has a `health_path`."""
    routes = Routes("health", "Health of the service and its parts")
    routes.get("/health", HealthSchema, scope=OPEN, fails={503: HealthSchema})(health)
    routes.get("/health/live", LiveSchema, scope=OPEN)(live)
    routes.get("/health/ready", ReadySchema, scope=OPEN, fails={503: ReadySchema})(ready)
    routes.get("/health/db", DatabaseHealthSchema, scope=OPEN, fails={503: DatabaseHealthSchema})(db)
    for venue in VENUES.values():
        if venue.health_path is not None:
            schema = venue_health_schema(venue.name)
            routes.get(venue.health_path, schema, scope=OPEN, fails={503: schema})(_venue_view(venue))
    return routes


def check_database(store: Store) -> str:
    """Return `connected` or `not_migrated`. Raises `StoreError` if PostgreSQL is unavailable."""
    with store.transaction() as cursor:
        return _CONNECTED if table_exists(cursor) else "not_migrated"


def check_redis(bus: Bus) -> tuple[dict[str, dict[str, Any]], int, Parked]:
    """Return the reports of the sources, the number of unstored prices, and the parked entries.

    Raises `BusError` if Redis is unavailable.
    """
    return bus.sources(), bus.unstored(), bus.parked()


def health() -> Any:
    """State of all parts; 503 if one is unavailable. `degraded` is 200."""
    app = context()
    database, redis = ask_all(app.database, app.redis)
    now = app.clock()
    sources, unstored, parked = redis or ({}, None, Parked(None, None))
    well = database == _CONNECTED and redis is not None
    return {
        "status": _state(parked, now) if well else "unhealthy",
        "database": database or _DISCONNECTED,
        "redis": _DISCONNECTED if redis is None else _CONNECTED,
        "sources": {name: _with_age(report, now) for name, report in sources.items()},
        "writer": {"unstored": unstored, "parked": parked.total, "last_parked": parked.last},
        **_about(now),
    }, _status(well)


def live() -> Any:
    """The process runs; no part is checked."""
    return {"status": "alive", **_about(context().clock())}


def ready() -> Any:
    """Ability to serve requests: 503 until database and bus are available."""
    app = context()
    database, redis = ask_all(app.database, app.redis)
    well = database == _CONNECTED and redis is not None
    return {
        "status": "ready" if well else "not_ready",
        "database": database or _DISCONNECTED,
        "redis": _DISCONNECTED if redis is None else _CONNECTED,
        "timestamp": format_time(app.clock()),
    }, _status(well)


def db() -> Any:
    """State of the database only; 503 if it is unavailable."""
    app = context()
    (database,) = ask_all(app.database)
    well = database == _CONNECTED
    return {
        "status": "healthy" if well else "unhealthy",
        "database": database or _DISCONNECTED,
        "timestamp": format_time(app.clock()),
    }, _status(well)


def _venue_view(venue: Venue) -> Callable[[], Any]:
    """Return the view of one venue's source, whose name and docstring name the venue."""

    def view() -> Any:
        return _venue_health(venue)

    view.__name__ = venue.name
    view.__doc__ = f"State of the source `{venue.name}` only, or `not_configured`; 503 while the bus is unavailable."
    return view


def _venue_health(venue: Venue) -> Any:
    app = context()
    (redis,) = ask_all(app.redis)
    now = app.clock()
    if redis is None:
        return {"status": "unknown", "source": None, "timestamp": format_time(now)}, 503
    report = redis[0].get(venue.name)
    if report is None:
        return {"status": "not_configured", "source": None, "timestamp": format_time(now)}
    report = _with_age(report, now)
    return {"status": report.get("state", "unknown"), "source": report, "timestamp": format_time(now)}


def _about(now: datetime) -> dict[str, Any]:
    app = context()
    uptime = round((now - app.started).total_seconds(), 3)
    return {"uptime_seconds": uptime, "version": app.version, "timestamp": format_time(now)}


def _state(parked: Parked, now: datetime) -> str:
    """Return `degraded` for one hour after an entry was parked: someone should look at it."""
    recent = parked.last is not None and now - parse_time(parked.last) < _DEGRADED
    return "degraded" if recent else "healthy"


def _status(well: bool) -> int:
    return 200 if well else 503


def _with_age(report: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return the report, with the state `stale` if it is older than 15 s.

    Its process has probably ended.
    """
    if now - parse_time(report["reported"]) <= _STALE_AFTER:
        return dict(report)
    return {**report, "state": "stale", "last_state": report.get("state")}
