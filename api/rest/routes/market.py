"""The market overview: the route."""

from __future__ import annotations

from flask import Response, g, request

from api.access.model import READ, Access
from api.rest.instruments import refuse_unknown
from api.rest.market.overview import current_overview, is_packed, overview_of
from api.rest.routing import Routes
from api.rest.schemas.answers import ErrorResponseSchema
from api.rest.schemas.dashboard import MarketQuery, MarketQuerySchema, MarketSchema

routes = Routes("market", "Overview of all instruments")


@routes.get("/market", MarketSchema, scope=READ, takes=MarketQuerySchema, fails={404: ErrorResponseSchema})
def market(query: MarketQuery) -> Response:
    """Newest price, last close, range of the day and hourly closes of many instruments at once.

    Without `symbols`, it has the enabled instruments that you may read; the answer is then at most
    2 s old. The change of the day is `mid / reference − 1`.
    """
    access: Access = g.access
    if query.symbols is None:
        return _json(current_overview().readable(access.reading, packed=request.accept_encodings.quality("gzip") > 0))
    found = overview_of(query.symbols)
    refuse_unknown("symbols", [name for name in query.symbols if name not in found.pieces])
    return _json(found.body(query.symbols))


def _json(body: bytes) -> Response:
    response = Response(body, mimetype="application/json")
    response.vary.add("Accept-Encoding")
    if is_packed(body):
        response.content_encoding = "gzip"
    return response
