"""Gaps in the store: the routes, over `db/listing`."""

from __future__ import annotations

from flask import Response

from api.access.model import OBSERVE
from api.rest.listing import answer
from api.rest.routing import Routes
from api.rest.schemas.listings import GapsQuerySchema, GapsSchema
from api.rest.schemas.paging import ListQuery
from db.listing.tables import GAPS

routes = Routes("gaps", "Gaps in the store")


@routes.listing("/gaps", GapsSchema, takes=GapsQuerySchema, scope=OBSERVE)
def gaps(query: ListQuery) -> Response:
    """Detected gaps and their states, ordered by (start_time, id)."""
    return answer(GAPS, query, "gaps", ())
