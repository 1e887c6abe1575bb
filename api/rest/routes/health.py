"""How the hub is doing. Every answer comes within about two seconds, whatever is broken."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from api.rest.context import context
from api.rest.probe import ask_all
from api.rest.routing import Routes
from api.rest.schemas.answers import BinanceHealthSchema, DatabaseHealthSchema, HealthSchema, LiveSchema, ReadySchema
from db.bus import Bus
from db.postgres import Store
from db.prices import table_exists
from db.timestamps import format_time, parse_time

_STALE_AFTER = timedelta(seconds=15)
_CONNECTED, _DISCONNECTED = "connected", "disconnected"

routes = Routes("health", "How the service and its parts are doing")


def ask_database(store: Store) -> str:
    """`connected`, or `not_migrated`; raises where there is no answer."""
    with store.transaction() as cursor:
        return _CONNECTED if table_exists(cursor) else "not_migrated"


def ask_redis(bus: Bus) -> tuple[dict[str, dict[str, Any]], int]:
    """The sources' reports and how many prices are unstored; raises where there is no answer."""
    return bus.sources(), bus.unstored()


@routes.get("/health", HealthSchema, fails={503: HealthSchema})
def health() -> Any:
    """Everything at once; 503 where a part is missing."""
    app = context()
    database, redis = ask_all(app.database, app.redis)
    now = app.clock()
    sources, unstored = redis or ({}, None)
    well = database == _CONNECTED and redis is not None
    return {
        "status": "healthy" if well else "unhealthy",
        "database": database or _DISCONNECTED,
        "redis": _DISCONNECTED if redis is None else _CONNECTED,
        "sources": {name: _aged(report, now) for name, report in sources.items()},
        "writer": {"unstored": unstored},
        **_about(now),
    }, _status(well)


@routes.get("/health/live", LiveSchema)
def live() -> Any:
    """The process answers; nothing else is asked."""
    return {"status": "alive", **_about(context().clock())}


@routes.get("/health/ready", ReadySchema, fails={503: ReadySchema})
def ready() -> Any:
    """Whether requests can be served: database and bus answer; 503 until then."""
    app = context()
    database, redis = ask_all(app.database, app.redis)
    well = database == _CONNECTED and redis is not None
    return {
        "status": "ready" if well else "not_ready",
        "database": database or _DISCONNECTED,
        "redis": _DISCONNECTED if redis is None else _CONNECTED,
        "timestamp": format_time(app.clock()),
    }, _status(well)


@routes.get("/health/db", DatabaseHealthSchema, fails={503: DatabaseHealthSchema})
def db() -> Any:
    """The database alone; 503 where it does not answer."""
    app = context()
    (database,) = ask_all(app.database)
    well = database == _CONNECTED
    return {
        "status": "healthy" if well else "unhealthy",
        "database": database or _DISCONNECTED,
        "timestamp": format_time(app.clock()),
    }, _status(well)


@routes.get("/health/binance", BinanceHealthSchema, fails={503: BinanceHealthSchema})
def binance() -> Any:
    """The Binance source alone: its state, or that it is not configured; 503 while the bus is away."""
    app = context()
    (redis,) = ask_all(app.redis)
    now = app.clock()
    if redis is None:
        return {"status": "unknown", "source": None, "timestamp": format_time(now)}, 503
    report = redis[0].get("binance")
    if report is None:
        return {"status": "not_configured", "source": None, "timestamp": format_time(now)}
    report = _aged(report, now)
    return {"status": report.get("state", "unknown"), "source": report, "timestamp": format_time(now)}


def _about(now: datetime) -> dict[str, Any]:
    app = context()
    uptime = round((now - app.started).total_seconds(), 3)
    return {"uptime_seconds": uptime, "version": app.version, "timestamp": format_time(now)}


def _status(well: bool) -> int:
    return 200 if well else 503


def _aged(report: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """A report too old to be believed is called stale: whoever made it is gone."""
    if now - parse_time(report["reported"]) <= _STALE_AFTER:
        return dict(report)
    return {**report, "state": "stale", "last_state": report.get("state")}
