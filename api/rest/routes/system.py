"""The system: its condition, delays, components and log records, and acknowledgements of alerts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
from flask import g

from api.access.model import OBSERVE, OPERATE
from api.acknowledgement import acknowledge_alert
from api.rest.context import context
from api.rest.observability.exact import exact
from api.rest.routing import Routes
from api.rest.schemas.answers import ErrorResponseSchema
from api.rest.schemas.observability.system import ComponentsSchema, LogsQuery, LogsQuerySchema, LogsSchema, SystemStatsSchema
from api.schemas.alerts import AcknowledgedSchema, AcknowledgeSchema
from api.schemas.observability import PerformanceMetricsSchema, SystemHealthSchema
from db.listing.query import RowFilter, read_page
from db.listing.tables import ALERTS
from db.postgres import StoreError
from health.system import components as parts
from health.system.condition import system_health
from health.system.performance import performance as measured
from health.system.recent_logs import recent_logs

_MAX_ALERTS = 100  # of one answer
_OPEN_ALERTS = replace(ALERTS, condition="state <> 'resolved'")

log = logging.getLogger(__name__)

routes = Routes("system", "State of the machine and of all processes")


@routes.get("/api/system/health", SystemHealthSchema, scope=OBSERVE)
def health() -> Any:
    """The condition of the machine, all processes and servers, with the newest 100 open alerts.

    `degraded` above 80 % of CPU or memory, `unhealthy` above 90 % or if a process is away. Always
    200: probes use `/health`.
    """
    return exact(system_health(context().system(), _open_alerts()))


@routes.get("/api/system/performance", PerformanceMetricsSchema, scope=OBSERVE)
def performance() -> Any:
    """Delays from the price received to the sockets, and rates, of the last 60 s."""
    return exact(measured(context().system()))


@routes.get("/api/system/components", ComponentsSchema, scope=OBSERVE)
def components() -> Any:
    """The collectors of the observer, and the sockets of the hubs."""
    return exact(parts.components(context().system()))


@routes.get("/api/system/stats", SystemStatsSchema, scope=OBSERVE)
def stats() -> Any:
    """Counts of the sockets and the collectors."""
    return exact(parts.stats(context().system()))


@routes.get("/api/system/logs/recent", LogsSchema, scope=OBSERVE, takes=LogsQuerySchema)
def logs(query: LogsQuery) -> Any:
    """The newest log records of all processes; about 5,000 are kept."""
    exactly = query.exact == "true"
    return exact(recent_logs(context().bus, level=query.level, limit=query.limit, service=query.service, exact=exactly))


@routes.post(
    "/api/system/alerts/acknowledge/<path:alert_id>",
    AcknowledgedSchema,
    takes=AcknowledgeSchema,
    scope=OPERATE,
    fails={404: ErrorResponseSchema, 409: ErrorResponseSchema},
)
def acknowledge(given: Mapping[str, str | None], alert_id: str) -> Any:
    """Acknowledge a firing alert: it stays active, and is not notified again.

    Repeated, the answer is the first one. A resolved alert is a `conflict`. A caller with a
    credential acknowledges under the name of its key or token.
    """
    app = context()
    return acknowledge_alert(app.store, g.access, alert_id, given, app.clock())


def _open_alerts() -> list[dict[str, Any]]:
    """Return the newest open alerts; none while the database is away."""
    try:
        with context().store.transaction() as cursor:
            lines = read_page(cursor, _OPEN_ALERTS, RowFilter(descending=True), _MAX_ALERTS, "json").lines
    except StoreError as error:
        log.warning("the condition of the system is returned without alerts", extra={"reason": str(error)})
        return []
    return [orjson.loads(line) for line in lines.splitlines()]
