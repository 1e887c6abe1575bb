"""The instruments."""

from __future__ import annotations

from typing import Any

import orjson

from api.rest.parts import parts
from api.rest.routing import Routes
from api.schemas.rest import SymbolsSchema
from db.instruments import all_instruments
from db.sessions import all_sessions, market_open

routes = Routes("symbols", "What can be priced")


@routes.get("/symbols", SymbolsSchema)
def symbols() -> Any:
    """Every instrument, whether its market is open, and when it was last priced."""
    here = parts()
    latest = here.bus.latest_prices()
    with here.store.transaction() as cursor:
        instruments, sessions = all_instruments(cursor), all_sessions(cursor)
    now = here.clock()
    found = [
        {
            "symbol": each.symbol,
            "name": each.name,
            "kind": each.kind,
            "precision": each.precision,
            "source": each.source,
            "market_open": market_open(each.kind, sessions, now),
            "last_price_time": orjson.loads(latest[each.symbol])["price"]["time"] if each.symbol in latest else None,
        }
        for each in instruments
    ]
    return {"symbols": found, "count": len(found)}
