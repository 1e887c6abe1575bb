"""Positions of bots, their statements, and strategies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import orjson
from flask import Response

from api.access.model import OBSERVE
from api.rest.context import context
from api.rest.listing import answer
from api.rest.observability import statement as statements
from api.rest.observability import strategies as strategy_rows
from api.rest.observability.live_prices import latest_prices, rates
from api.rest.observability.snapshot import newest
from api.rest.observability.statement import StatementQuery
from api.rest.routing import Routes
from api.rest.schemas.observability.positions import (
    PositionsQuerySchema,
    PositionsSchema,
    StatementQuerySchema,
    StatementSchema,
    StrategiesQuerySchema,
    StrategiesSchema,
)
from api.rest.schemas.paging import ListQuery
from db.figures.statement import Method
from db.listing.observability import POSITIONS, STATEMENT, STRATEGIES
from db.listing.query import Form
from db.reports.positions import all_positions, fee_currencies
from db.timestamps import parse_time

routes = Routes("positions", "Positions and strategies of bots")


@routes.listing("/positions", PositionsSchema, takes=PositionsQuerySchema, scope=OBSERVE)
def positions(query: ListQuery) -> Response:
    """Positions after their last fill, flat ones too, ordered by (bot, strategy, symbol).

    Open positions are marked to the latest price: the bid if long, the ask if short.
    """
    return answer(POSITIONS, replace(query, given=orjson.dumps(_given()).decode()), "positions", ())


@routes.listing("/positions/statement", StatementSchema, takes=StatementQuerySchema, scope=OBSERVE)
def statement(query: ListQuery) -> Response:
    """The statement of one position: its fills in the order of their times, without voided ones.

    Each row has the position after the fill, and the profit since the first one. Average cost and
    `method=fifo` have equal sums of realised and unrealised profit.
    """
    app, chosen = context(), query.filters
    asked = StatementQuery(
        (chosen["bot"], chosen["strategy"], chosen["symbol"]),
        cast(Method, chosen["method"]),
        None if query.start is None else parse_time(query.start),
        None if query.end is None else parse_time(query.end),
        query.order == "desc",
        app.settings.obs_day_zone,
    )
    read = statements.reader(app.reads, asked, _form(query), rates)
    return answer(STATEMENT, query, "statement", ("bot", "strategy", "symbol", "method"), read=read)


@routes.listing("/strategies", StrategiesSchema, takes=StrategiesQuerySchema, scope=OBSERVE)
def strategies(query: ListQuery) -> Response:
    """The strategies of each bot with their figures, ordered by (bot, strategy_name).

    They are those of the newest snapshot: without any, the answer is 503.
    """
    traded, symbol = None, query.filters.get("symbol")
    if symbol is not None:
        rows = context().reads.read(lambda cursor: list(all_positions(cursor)))
        traded = {(row.bot, row.strategy) for row in rows if row.symbol == symbol}
    read = strategy_rows.reader(newest(), query.filters, traded, _form(query), descending=query.order == "desc")
    return answer(STRATEGIES, query, "strategies", (), read=read)


def _form(query: ListQuery) -> Form:
    return "csv" if query.format == "csv" else "json"


def _given() -> list[dict[str, Any]]:
    """Return the rows of the relation `given` of `POSITIONS`: marks, and rates of fees."""
    app = context()
    now, is_mid = app.clock(), app.settings.obs_mark == "mid"
    marks = [
        {
            "symbol": symbol,
            "bid": price.mid if is_mid else price.bid,
            "ask": price.mid if is_mid else price.ask,
            "stale": not price.is_live(now),
        }
        for symbol, price in latest_prices().items()
    ]
    return marks + _rates_of_fees()


def _rates_of_fees() -> list[dict[str, Any]]:
    """Return the rates from the currencies of fees to those of their positions."""
    pairs = context().reads.read(fee_currencies)
    found: list[dict[str, Any]] = []
    known = rates([source for source, _ in pairs], "")
    for source, target in pairs:
        if (rate := known.rate(source, target)) is not None:
            found.append({"source": source, "target": target, "rate": str(rate)})
    return found
