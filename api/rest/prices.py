"""Prices: the latest from the bus, the stored ones from the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import orjson
from flask import Response

from api.rest import paging
from api.rest.errors import ApiError, unknown_instrument
from api.rest.parts import parts
from api.rest.routing import Routes
from api.rest.slots import hold, take_for_export
from api.schemas.errors import ErrorCode
from api.schemas.rest import DEFAULT_LIMIT, ErrorSchema, LatestQuery, LatestSchema, TicksQuery, TicksSchema
from db.instruments import all_instruments
from db.prices import CSV_HEADER, PriceKey, PricePage, PriceRange, price_page

EXPORT_ROWS = 10_000  # of an export that are in memory, and in one query, at a time
_TYPES = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}

_HEADERS = {"csv": CSV_HEADER, "ndjson": b""}

ReadPage = Callable[[int, PriceKey | None], PricePage]

routes = Routes("prices", "Latest and stored prices")


@routes.get("/price/latest", LatestSchema, takes=LatestQuery, fails={404: ErrorSchema})
def latest(query: dict[str, Any]) -> Any:
    """The latest price of one instrument (`symbol`), or of several (`symbols`)."""
    if "symbols" in query:
        names = query["symbols"]
        found = parts().bus.latest_prices(names)
        _refuse_unknown("symbols", [name for name in names if name not in found])
        return {"prices": {name: _latest(body) for name, body in found.items()}}
    name = query["symbol"]
    body = parts().bus.latest_prices([name]).get(name)
    if body is None:
        _refuse_unknown("symbol", [name])
        raise ApiError(404, ErrorCode.NO_PRICE, f"{name} has no price yet", {"symbol": [name]})
    return _latest(body)


_EXPORTS = {kind: {"schema": {"type": "string"}} for kind in ("text/csv", "application/x-ndjson")}


@routes.get("/ticks", TicksSchema, takes=TicksQuery, fails={404: ErrorSchema}, doc={"responses": {200: {"content": _EXPORTS}}})
def ticks(query: dict[str, Any]) -> Response:
    """Stored prices, ordered by (time, epoch, seq).

    JSON comes in pages. CSV and NDJSON without a `limit` give the whole range, whatever its length; with one, a page, whose
    `next_page_token` is the header `X-Next-Page-Token`. An export that breaks off ends without its last chunk.
    """
    symbol, order, kind = query["symbol"], query["order"], query["format"]
    whole = kind != "json" and "limit" not in query
    read = _reader(query)
    page = read(EXPORT_ROWS if whole else query.get("limit", DEFAULT_LIMIT), query["page_token"].key if "page_token" in query else None)
    if not page.lines:
        _refuse_unknown("symbol", [symbol])
    token = paging.encode(paging.Place(symbol, order, page.following)) if page.following else None
    if kind == "json":
        return _json_page(symbol, page, token)
    response = _whole(kind, page, read) if whole else _part(kind, page, token)
    response.headers["Content-Disposition"] = f'attachment; filename="{symbol}_ticks.{kind}"'
    return response


def _reader(query: dict[str, Any]) -> ReadPage:
    """Reads one page of what the query asks for, in a transaction of its own."""
    wanted = PriceRange(query["symbol"], query.get("start"), query.get("end"), descending=query["order"] == "desc")
    form: Literal["json", "csv"] = "csv" if query["format"] == "csv" else "json"
    store = parts().store

    def read(limit: int, after: PriceKey | None) -> PricePage:
        with store.transaction() as cursor:
            return price_page(cursor, wanted, limit, form, after)

    return read


def _part(kind: str, page: PricePage, token: str | None) -> Response:
    response = Response(_HEADERS[kind] + page.lines, content_type=_TYPES[kind])
    if token:
        response.headers["X-Next-Page-Token"] = token
    return response


def _whole(kind: str, page: PricePage, read: ReadPage) -> Response:
    held = take_for_export()
    response = Response(_stream(_HEADERS[kind], page, read), content_type=_TYPES[kind])
    hold(response, held)
    return response


def _json_page(symbol: str, page: PricePage, token: str | None) -> Response:
    """The rows are JSON already, as PostgreSQL wrote them: they are joined, not read."""
    pieces = (
        b'{"symbol":',
        orjson.dumps(symbol),
        b',"ticks":[',
        page.lines[:-1].replace(b"\n", b","),
        b'],"next_page_token":',
        orjson.dumps(token),
        b"}",
    )
    return Response(b"".join(pieces), content_type="application/json")


def _stream(header: bytes, page: PricePage, read: ReadPage) -> Iterator[bytes]:
    """Page after page, so that neither memory nor a database connection is held while a slow client reads. A failure is
    raised: the server then closes the connection without the last chunk, and nobody takes a part for the whole."""
    yield header + page.lines
    while page.following is not None:
        page = read(EXPORT_ROWS, page.following)
        yield page.lines


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


def _refuse_unknown(argument: str, names: list[str]) -> None:
    """404 unless these are instruments. Asked only about names without a price, so the usual request costs no query."""
    if not names:
        return
    with parts().store.transaction() as cursor:
        known = {each.symbol for each in all_instruments(cursor)}
    if unknown := [name for name in names if name not in known]:
        raise unknown_instrument(argument, unknown)
