"""Trades of exchanges."""

from __future__ import annotations

from typing import Any

from flask import Response

from api.rest.listing import EXPORTS, answer
from api.rest.routing import Routes
from api.rest.schemas.answers import ErrorResponseSchema
from api.rest.schemas.listings import TradesQuery, TradesSchema
from db.listing.tables import TRADES

routes = Routes("trades", "Stored trades of exchanges")


@routes.get("/market/trades", TradesSchema, takes=TradesQuery, fails={404: ErrorResponseSchema}, doc=EXPORTS)
def trades(query: dict[str, Any]) -> Response:
    """Stored trades, ordered by (time, trade_id).

    JSON comes in pages. CSV and NDJSON without a `limit` give the whole range; with one, a page, whose `next_page_token` is the header
    `X-Next-Page-Token`.
    """
    return answer(TRADES, query, "trades")
