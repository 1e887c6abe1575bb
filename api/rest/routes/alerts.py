"""Alerts."""

from __future__ import annotations

from flask import Response, g

from api.access.model import OBSERVE, READ, Access
from api.errors import forbidden_scope
from api.rest.listing import answer
from api.rest.routing import Routes
from api.rest.schemas.alerts import AlertsQuerySchema, AlertsSchema
from api.rest.schemas.paging import ListQuery
from db.alerts import FIGURE_TYPES
from db.listing.query import Listing
from db.listing.tables import ALERTS, ALERTS_OF_FIGURES, ALERTS_OF_SYSTEM

routes = Routes("alerts", "Alerts with their figures")


@routes.listing("/alerts", AlertsSchema, takes=AlertsQuerySchema, scope=READ, also=OBSERVE)
def alerts(query: ListQuery) -> Response:
    """All alerts, ordered by (time, id); `symbol` finds either instrument of a correlation.

    The types `volatility` and `correlation` need the scope `read`, and the right to the instrument,
    of a pair to both. The other types need `observe`. A list without `type` has the types that the
    caller may read.
    """
    access: Access = g.access
    if (kind := query.filters.get("type")) is not None:
        needed = READ if kind in FIGURE_TYPES else OBSERVE
        if not access.allows(needed):
            raise forbidden_scope(needed)
    return answer(_permitted(access), query, "alerts", ())


def _permitted(access: Access) -> Listing:
    """The listing of the types that the caller may read; it has at least one of the scopes."""
    if not access.allows(OBSERVE):
        return ALERTS_OF_FIGURES
    return ALERTS if access.allows(READ) else ALERTS_OF_SYSTEM
