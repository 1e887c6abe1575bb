"""The instruments."""

from __future__ import annotations

from typing import Any

import orjson

from api.rest.context import context
from api.rest.errors import unknown_instrument
from api.rest.routing import Routes
from api.rest.schemas.answers import SymbolsSchema
from db.instruments import all_instruments
from db.sessions import all_sessions, market_open

routes = Routes("symbols", "What can be priced")


@routes.get("/symbols", SymbolsSchema)
def symbols() -> Any:
    """Every instrument, whether its market is open, and when it was last priced."""
    app = context()
    latest = app.bus.latest_prices()
    with app.store.transaction() as cursor:
        instruments, sessions = all_instruments(cursor), all_sessions(cursor)
    now = app.clock()
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


def refuse_unknown(argument: str, names: list[str]) -> None:
    """404 unless these are instruments. Asked only about names without a price, so the usual request costs no query."""
    if not names:
        return
    with context().store.transaction() as cursor:
        known = {each.symbol for each in all_instruments(cursor)}
    if unknown := [name for name in names if name not in known]:
        raise unknown_instrument(argument, unknown)
