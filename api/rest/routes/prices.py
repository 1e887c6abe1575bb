"""Prices: the latest from the bus, the stored ones from the store."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Response

from api.errors import ErrorCode
from api.rest.context import context
from api.rest.errors import ApiError
from api.rest.listing import EXPORTS, answer
from api.rest.routes.symbols import refuse_unknown
from api.rest.routing import Routes
from api.rest.schemas.answers import ErrorResponseSchema, LatestQuery, LatestSchema
from api.rest.schemas.listings import TicksQuery, TicksSchema
from db.listing.tables import PRICES

routes = Routes("prices", "Latest and stored prices")


@routes.get("/price/latest", LatestSchema, takes=LatestQuery, fails={404: ErrorResponseSchema})
def latest(query: dict[str, Any]) -> Any:
    """The latest price of one instrument (`symbol`), or of several (`symbols`)."""
    if "symbols" in query:
        names = query["symbols"]
        found = context().bus.latest_prices(names)
        refuse_unknown("symbols", [name for name in names if name not in found])
        return {"prices": {name: _latest(body) for name, body in found.items()}}
    name = query["symbol"]
    body = context().bus.latest_prices([name]).get(name)
    if body is None:
        refuse_unknown("symbol", [name])
        raise ApiError(404, ErrorCode.NO_PRICE, f"{name} has no price yet", {"symbol": [name]})
    return _latest(body)


@routes.get("/ticks", TicksSchema, takes=TicksQuery, fails={404: ErrorResponseSchema}, doc=EXPORTS)
def ticks(query: dict[str, Any]) -> Response:
    """Stored prices, ordered by (time, epoch, seq).

    JSON comes in pages. CSV and NDJSON without a `limit` give the whole range, whatever its length; with one, a page, whose
    `next_page_token` is the header `X-Next-Page-Token`. An export that breaks off ends without its last chunk.
    """
    return answer(PRICES, query, "ticks")


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
