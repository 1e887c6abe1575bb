"""Alerts."""

from __future__ import annotations

from typing import Any

from flask import Response

from api.rest.listing import EXPORTS, answer
from api.rest.routing import Routes
from api.rest.schemas.analytics import AlertsQuery, AlertsSchema
from api.rest.schemas.answers import ErrorResponseSchema
from db.listing.tables import ALERTS

routes = Routes("alerts", "Alerts with what they saw")


@routes.get("/alerts", AlertsSchema, takes=AlertsQuery, fails={404: ErrorResponseSchema}, doc=EXPORTS)
def alerts(query: dict[str, Any]) -> Response:
    """Every alert that was raised, ordered by (time, id); `symbol` finds either instrument of a correlation.

    JSON comes in pages. CSV and NDJSON without a `limit` give the whole range; with one, a page, whose `next_page_token` is the header
    `X-Next-Page-Token`.
    """
    return answer(ALERTS, query, "alerts", ())
