"""Trades, orders and fills that bots have reported."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

from flask import Response

from api.access.model import OBSERVE
from api.errors import ErrorCode
from api.rest.context import context
from api.rest.errors import ApiError
from api.rest.instruments import refuse_unknown
from api.rest.listing import answer, row_filter
from api.rest.observability.exact import JSON, exact
from api.rest.observability.live_prices import rates
from api.rest.routing import Routes
from api.rest.schemas.answers import ErrorResponseSchema
from api.rest.schemas.observability.trade_reports import (
    DEFAULT_TRADES,
    ExecutionQualitySchema,
    FillsQuerySchema,
    FillsSchema,
    OrdersQuerySchema,
    OrdersSchema,
    SummaryQuery,
    SummaryQuerySchema,
    TradeFilterSchema,
    TradeStatsSchema,
)
from api.rest.schemas.paging import ListQuery
from api.schemas.observability import TradeHistoryResponseSchema, TradeSchema
from db.figures.conversion import total
from db.listing.observability import FILLS, ORDERS, TRADES
from db.listing.query import RowFilter, count_rows, read_page
from db.listing.summaries import PnlSums, execution_quality, pnl_sums, trade_totals
from db.metrics.history import SPANS
from db.timestamps import format_time, parse_time, time_before

_DAY = timedelta(days=1)
_MOMENT = timedelta(microseconds=1)
_UNKNOWN = {404: ErrorResponseSchema}

routes = Routes("trade_reports", "Trades, orders and positions of bots")


@routes.listing("/api/trades", TradeHistoryResponseSchema, takes=TradeFilterSchema, scope=OBSERVE)
def trades(query: ListQuery) -> Response:
    """Fills that bots have reported, the newest first; those of the last 24 hours by default.

    Voided fills are left out. Amounts are JSON numbers with all digits of the report.
    """
    app = context()
    if query.start is None:
        end = app.clock() if query.end is None else parse_time(query.end)
        query = replace(query, start=format_time(time_before(end, _DAY)))
    if query.format != "json":
        return answer(TRADES, query, "trades", ())
    limit = query.limit or DEFAULT_TRADES
    count = app.reads.read(lambda cursor: count_rows(cursor, TRADES, row_filter(query)))
    tail = {"total": count, "limit": limit, "offset": query.offset}
    return answer(TRADES, replace(query, limit=limit), "trades", (), tail=tail)


routes.alias("/api/trades/", trades)


@routes.get("/api/trades/<trade_id>", TradeSchema, scope=OBSERVE, fails=_UNKNOWN)
def trade(trade_id: str) -> Any:
    """One trade by its id, BOT:FILL_ID."""
    bot, _, fill_id = trade_id.partition(":")
    if "\0" not in trade_id:
        wanted = RowFilter({"bot": bot, "fill_id": fill_id})
        page = context().reads.read(lambda cursor: read_page(cursor, TRADES, wanted, 1, "json"))
        if page.lines:
            return Response(page.lines[:-1], content_type=JSON)
    raise ApiError(404, ErrorCode.NOT_FOUND, "no such trade", {"trade_id": [trade_id]})


@routes.get("/api/trades/stats/summary", TradeStatsSchema, scope=OBSERVE, takes=SummaryQuerySchema, fails=_UNKNOWN)
def stats(query: SummaryQuery) -> Response:
    """Number, volume and profit of the trades of a range of time that ends now.

    Amounts are in `currency`. The parts that cannot be converted are in `by_currency`.
    """
    start, end = _range(query)
    found, sums = context().reads.read(
        lambda cursor: (trade_totals(cursor, query.symbol, start, end), pnl_sums(cursor, query.symbol, start, end))
    )
    if not found.count and query.symbol is not None:
        refuse_unknown("symbol", [query.symbol])
    head = {
        "count": found.count,
        "total_volume": found.volume,
        "avg_price": found.average_price,
        "avg_size": found.average_size,
        "buy_count": found.bought,
        "sell_count": found.sold,
    }
    return exact({**head, **_profit(sums)})


@routes.get("/api/trades/execution/quality", ExecutionQualitySchema, scope=OBSERVE, takes=SummaryQuerySchema, fails=_UNKNOWN)
def quality(query: SummaryQuery) -> Any:
    """Quality of the executions of the orders of a range of time that ends now.

    An order belongs to the range if its last report does.
    """
    start, end = _range(query)
    everything, by_strategy = context().reads.read(lambda cursor: execution_quality(cursor, query.symbol, start, end))
    if not by_strategy and query.symbol is not None:
        refuse_unknown("symbol", [query.symbol])
    parts = {name: asdict(figures) for name, figures in by_strategy.items()}
    return {**asdict(everything), "by_strategy": parts, "time_range": query.time_range}


@routes.listing("/orders", OrdersSchema, takes=OrdersQuerySchema, scope=OBSERVE)
def orders(query: ListQuery) -> Response:
    """Orders that bots have reported, ordered by (time, bot, order_id)."""
    return answer(ORDERS, query, "orders", ())


@routes.listing("/fills", FillsSchema, takes=FillsQuerySchema, scope=OBSERVE)
def fills(query: ListQuery) -> Response:
    """Fills that bots have reported, voided ones too, ordered by (time, fill_id, bot)."""
    return answer(FILLS, query, "fills", ())


def _range(query: SummaryQuery) -> tuple[datetime, datetime]:
    """Return the start and the end, which is exclusive and after now."""
    now = context().clock()
    return now - SPANS[query.time_range], now + _MOMENT


def _profit(sums: list[PnlSums]) -> dict[str, Any]:
    """Return the profit of trades in the base currency, and the ratios of wins and losses."""
    wins, losses, draws = (sum(getattr(each, name) for each in sums) for name in ("wins", "losses", "draws"))
    base = context().settings.obs_base_currency
    known = rates([each.currency for each in sums], base)
    profit = total(((each.currency, each.won + each.lost) for each in sums), base, known)
    won = total(((each.currency, each.won) for each in sums), base, known)
    lost = total(((each.currency, each.lost) for each in sums), base, known)
    whole = not (won.by_currency or lost.by_currency)
    factor = float(won.amount / -lost.amount) if whole and won.amount is not None and lost.amount else None
    return {
        "pnl": profit.amount,
        "currency": base,
        "wins": wins,
        "losses": losses,
        "draws": draws,
        "win_rate": wins / (wins + losses + draws) if wins + losses + draws else None,
        "profit_factor": factor,
        "by_currency": dict(profit.by_currency),
    }
