"""Trades of exchanges."""

from __future__ import annotations

from flask import Response

from api.access.model import READ
from api.rest.listing import answer, bounded
from api.rest.routing import Routes
from api.rest.schemas.listings import MarketTradesSchema, TradesQuerySchema
from api.rest.schemas.paging import ListQuery
from db.listing.tables import TRADES

routes = Routes("trades", "Stored trades of exchanges")


@routes.listing("/market/trades", MarketTradesSchema, takes=TradesQuerySchema, scope=READ)
def trades(query: ListQuery) -> Response:
    """Stored trades, ordered by (time, trade_id).

    Without `end`, the list ends `SOURCE_MAX_AHEAD_SECONDS` after now.
    """
    return answer(TRADES, bounded(query), "trades")
