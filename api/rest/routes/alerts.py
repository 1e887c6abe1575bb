"""Alerts."""

from __future__ import annotations

from flask import Response

from api.access.model import READ
from api.rest.listing import answer
from api.rest.routing import Routes
from api.rest.schemas.alerts import AlertsQuerySchema, AlertsSchema
from api.rest.schemas.paging import ListQuery
from db.listing.tables import ALERTS

routes = Routes("alerts", "Alerts with their figures")


@routes.listing("/alerts", AlertsSchema, takes=AlertsQuerySchema, scope=READ)
def alerts(query: ListQuery) -> Response:
    """All alerts, ordered by (time, id); `symbol` finds either instrument of a correlation.

    An alert about a pair needs the right to both of its instruments.
    """
    return answer(ALERTS, query, "alerts", ())
