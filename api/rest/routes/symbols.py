"""Instruments: the route."""

from __future__ import annotations

from typing import Any

import orjson

from api.access.model import READ
from api.rest.context import context
from api.rest.instruments import may_read
from api.rest.market.stale_after import thresholds
from api.rest.routing import Routes
from api.rest.schemas.symbols import SymbolsQuery, SymbolsQuerySchema, SymbolsSchema
from db.calendars import market_open
from db.instruments import all_instruments

routes = Routes("symbols", "Instruments")


@routes.get("/symbols", SymbolsSchema, scope=READ, takes=SymbolsQuerySchema)
def symbols(query: SymbolsQuery) -> Any:
    """The instruments that you may read, with the state of their market.

    `last_price_time` is the time of the latest price, `stale_after` eight times the usual seconds
    between two prices, 15 to 3600. Disabled instruments are included with
    `all=true`.
    """
    app = context()
    latest, fed_by = app.bus.latest_prices(), app.bus.fed_by()
    stale_after = thresholds(fed_by)
    instruments = app.reads.read(lambda cursor: all_instruments(cursor, disabled=query.all == "true"))
    now = app.clock()
    found = [
        {
            "symbol": each.symbol,
            "name": each.name,
            "kind": each.kind,
            "precision": each.precision,
            "currency": each.currency,
            "calendar": each.calendar,
            "source": each.source,
            "fed_by": fed_by.get(each.symbol),
            "enabled": each.enabled,
            "market_open": market_open(each.calendar, now),
            "stale_after": stale_after(each.symbol, each.source),
            "last_price_time": orjson.loads(latest[each.symbol])["price"]["time"] if each.symbol in latest else None,
        }
        for each in instruments
        if may_read(each.symbol)
    ]
    return {"symbols": found, "count": len(found)}
