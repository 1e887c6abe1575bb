"""Hubs: the route."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import g

from api.access.model import OBSERVE, Access
from api.rest.context import context
from api.rest.routing import Routes
from api.rest.schemas.observability.hubs import HubsSchema
from db.timestamps import format_time
from health.hubs import living_hubs, pairs_of
from health.reports import Report

routes = Routes("hubs", "Hubs and their clients")

_COUNTS = ("clients", "clients_limit", "plain_clients", "connections", "total_subscriptions", "delivered")


@routes.get("/hubs", HubsSchema, scope=OBSERVE)
def hubs() -> Any:
    """All hubs that have reported within 15 s, by name, with the counts of their last reports.

    A report is at most 5 s old. 503 while Redis is away.
    """
    app = context()
    found = [_hub(report) for report in living_hubs(app.bus, app.clock(), down_seconds=app.watch.down_seconds)]
    return {"hubs": found, "count": len(found)}


def _hub(report: Report) -> Mapping[str, Any]:
    access: Access = g.access
    part = report.part("hub")
    url, lag, version = part.get("url"), part.get("relay_lag_seconds"), report.body.get("version")
    return {
        "name": report.name,
        "version": version if isinstance(version, str) else "",
        "started": format_time(report.started),
        "failing": report.failing,
        "url": url if isinstance(url, str) else None,
        **{name: value if type(value := part.get(name)) is int else None for name in _COUNTS},
        "subscriptions_by_pair": {pair: count for pair, count in pairs_of(part).items() if access.patterns.permits(pair)},
        "relay_lag_seconds": lag if isinstance(lag, int | float) else None,
        "draining": report.draining,
    }
