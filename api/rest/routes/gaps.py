"""Holes in the store."""

from __future__ import annotations

from typing import Any

from flask import Response

from api.rest.listing import EXPORTS, answer
from api.rest.routing import Routes
from api.rest.schemas.answers import ErrorResponseSchema
from api.rest.schemas.listings import GapsQuery, GapsSchema
from db.listing.tables import GAPS

routes = Routes("gaps", "Holes in the store")


@routes.get("/gaps", GapsSchema, takes=GapsQuery, fails={404: ErrorResponseSchema}, doc=EXPORTS)
def gaps(query: dict[str, Any]) -> Response:
    """Holes that were found and what became of them, ordered by (start_time, id).

    JSON comes in pages. CSV and NDJSON without a `limit` give the whole range; with one, a page, whose `next_page_token` is the header
    `X-Next-Page-Token`.
    """
    return answer(GAPS, query, "gaps", ())
