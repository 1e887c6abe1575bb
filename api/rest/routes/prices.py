"""Prices: the latest ones from the bus, the stored ones from the store."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Response

from api.access.model import READ
from api.errors import ErrorCode
from api.rest.context import context
from api.rest.errors import ApiError
from api.rest.instruments import refuse_unknown
from api.rest.listing import answer, bounded
from api.rest.routing import Routes
from api.rest.schemas.answers import ErrorResponseSchema, LatestPriceQuery, LatestPriceQuerySchema, LatestSchema
from api.rest.schemas.listings import TicksQuerySchema, TicksSchema
from api.rest.schemas.paging import ListQuery
from db.listing.tables import PRICES

routes = Routes("prices", "Latest and stored prices")


@routes.get("/price/latest", LatestSchema, takes=LatestPriceQuerySchema, scope=READ, fails={404: ErrorResponseSchema})
def latest(query: LatestPriceQuery) -> Any:
    """The latest price of one instrument (`symbol`), or of several (`symbols`)."""
    if query.symbols is not None:
        found = context().bus.latest_prices(query.symbols)
        refuse_unknown("symbols", [name for name in query.symbols if name not in found])
        return {"prices": {name: _latest(body) for name, body in found.items()}}
    name = query.symbol or ""
    body = context().bus.latest_prices([name]).get(name)
    if body is None:
        refuse_unknown("symbol", [name])
        raise ApiError(404, ErrorCode.NO_PRICE, f"{name} has no price yet", {"symbol": [name]})
    return _latest(body)


@routes.listing("/ticks", TicksSchema, takes=TicksQuerySchema, scope=READ)
def ticks(query: ListQuery) -> Response:
    """Stored prices, ordered by (time, epoch, seq).

    Without `end`, the list ends `SOURCE_MAX_AHEAD_SECONDS` after now.
    """
    return answer(PRICES, bounded(query), "ticks")


def _latest(body: bytes) -> dict[str, Any]:
    message = orjson.loads(body)
    price = message["price"]
    return {
        "symbol": message["instrument"],
        "price": price["mid"],
        "bid": price["bid"],
        "ask": price["ask"],
        "timestamp": price["time"],
        "received": message["timestamp"],
        "seq": message["seq"],
        "epoch": message["epoch"],
    }
