"""Candles."""

from __future__ import annotations

from typing import Any

from flask import Response

from api.rest.listing import EXPORTS, answer
from api.rest.routing import Routes
from api.rest.schemas.answers import ErrorResponseSchema
from api.rest.schemas.listings import CandlesQuery, CandlesSchema
from db.listing.tables import CANDLES

routes = Routes("candles", "Stored candles")


@routes.get("/candles", CandlesSchema, takes=CandlesQuery, fails={404: ErrorResponseSchema}, doc=EXPORTS)
def candles(query: dict[str, Any]) -> Response:
    """Candles of one interval, ordered by start time.

    FX days begin at 17:00 New York and hold six 4-hour candles; everything else is aligned to UTC. Where nothing was priced there is no
    candle. JSON comes in pages. CSV and NDJSON without a `limit` give the whole range; with one, a page, whose `next_page_token` is the
    header `X-Next-Page-Token`.
    """
    return answer(CANDLES[query["price"]], query, "candles", ("symbol", "interval"))
