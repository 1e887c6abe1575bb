"""Candles: the routes, over `db/listing`."""

from __future__ import annotations

from flask import Response

from api.access.model import READ
from api.rest.listing import answer, ends_now
from api.rest.routing import Routes
from api.rest.schemas.listings import CandlesQuerySchema, CandlesSchema
from api.rest.schemas.paging import ListQuery
from db.listing.tables import CANDLES

routes = Routes("candles", "Stored candles")


@routes.listing("/candles", CandlesSchema, takes=CandlesQuerySchema, scope=READ)
def candles(query: ListQuery) -> Response:
    """Candles of one interval, ordered by start time.

    FX days begin at 17:00 New York and hold six 4-hour candles; all other candles are aligned to
    UTC. An interval without a price has no candle. Without `end`, the list ends
    with the last candle that has begun.
    """
    return answer(CANDLES[query.filters["price"]], ends_now(query), "candles", ("symbol", "interval"))
