"""Queries and answers of positions, statements and strategies."""

from __future__ import annotations

from marshmallow import Schema, validate
from marshmallow.fields import Bool, Dict, Int, List, Nested, Str

from api.rest.schemas.answers import NullableText, about, output_time
from api.rest.schemas.listings import ListQuerySchema, PageQuerySchema, next_page, symbol_argument, token_argument
from api.rest.schemas.observability.trade_reports import (
    bot_argument,
    decimal_field,
    name_field,
    optional_decimal_field,
    strategy_argument,
)
from api.schemas.observability import optional_number
from db.listing import observability as listings


def _count(text: str) -> Int:
    return Int(required=True, allow_none=True, metadata=about(text))


class PositionsQuerySchema(PageQuerySchema):
    """The selection of positions."""

    bot = bot_argument()
    strategy = strategy_argument()
    symbol = symbol_argument(required=False)
    order = Str(load_default="asc", validate=validate.OneOf(["asc", "desc"]), metadata=about("Of bot, strategy and symbol"))
    page_token = token_argument(listings.POSITIONS)


class PositionSchema(Schema):
    """A position after its last fill, marked to the live price."""

    bot = name_field("Its bot", "mm-1")
    strategy = name_field("Its strategy", "mean_reversion")
    symbol = name_field("Its instrument", "EUR_USD")
    quantity = decimal_field("Positive: long, negative: short; 0 if flat", "-500")
    average_price = optional_decimal_field("Average cost; null if flat")
    mark = optional_decimal_field("The bid if long, the ask if short; null if flat or without a price")
    mark_stale = Bool(required=True, metadata=about("True if the mark is older than 60 s"))
    unrealized_pnl = optional_decimal_field("(mark - average)·quantity·multiplier; null without a mark")
    realized_pnl = optional_decimal_field("Gross profit less fees; null if a fee cannot be converted")
    fees_by_currency = Dict(keys=Str(), values=Str(), required=True, metadata=about("Currency to fees paid"))
    currency = name_field("Of all amounts but fees", "USD")


class PositionsSchema(Schema):
    """A page of positions."""

    positions = List(Nested(PositionSchema), required=True)
    next_page_token = next_page()


class StatementQuerySchema(ListQuerySchema):
    """A range of the statement of one position."""

    bot = bot_argument(required=True)
    strategy = strategy_argument(required=True)
    symbol = symbol_argument()
    method = Str(
        load_default="average",
        validate=validate.OneOf(["average", "fifo"]),
        metadata=about("Cost method: average cost, or first in, first out"),
    )
    page_token = token_argument(listings.STATEMENT)


class StatementRowSchema(Schema):
    """A fill, and the position after it. Profits are sums since the first fill."""

    time = output_time("By the bot's clock")
    fill_id = name_field("Its id within the bot", "f-17")
    side = Str(required=True)
    quantity = decimal_field("Of the fill", "1000")
    price = decimal_field("Of the fill")
    fee = decimal_field("Of the fill", "0.02")
    fee_currency = name_field("Of the fee", "USD")
    position = decimal_field("Quantity of the position: positive is long", "1000")
    average_price = optional_decimal_field("Average cost of the position; null if flat")
    realized_gross = decimal_field("Gross profit", "0.36")
    realized_pnl = optional_decimal_field("Gross profit less fees; null if a fee cannot be converted")


class StatementSchema(Schema):
    """A page of the statement of one position."""

    bot = Str(required=True)
    strategy = Str(required=True)
    symbol = Str(required=True)
    method = Str(required=True)
    statement = List(Nested(StatementRowSchema), required=True)
    next_page_token = next_page()


class StrategiesQuerySchema(PageQuerySchema):
    """The selection of strategies."""

    bot = bot_argument()
    strategy = strategy_argument()
    symbol = symbol_argument("An instrument that the strategy has traded", required=False)
    order = Str(load_default="asc", validate=validate.OneOf(["asc", "desc"]), metadata=about("Of bot and strategy"))
    page_token = token_argument(listings.STRATEGIES)


class StrategySchema(Schema):
    """The figures of one strategy of one bot; amounts are decimal strings in `currency`."""

    bot = name_field("Its bot", "mm-1")
    strategy_name = name_field("Its name", "mean_reversion")
    pnl = optional_decimal_field("Realised and unrealised profit")
    daily_pnl = optional_decimal_field("Its change since 00:00 of `OBS_DAY_ZONE`")
    positions = _count("Open positions")
    signals = _count("Signals since 00:00 of `OBS_DAY_ZONE`")
    win_rate = optional_number("Of closed round trips")
    realized_pnl = optional_decimal_field("Gross profit less fees")
    unrealized_pnl = optional_decimal_field("Of open positions")
    position_notional = optional_decimal_field("Value of open positions")
    profit_factor = optional_number("Of closed round trips")
    no_losses = Bool(required=True, allow_none=True)
    sharpe_ratio = optional_number("Of daily returns of equity")
    max_drawdown = optional_decimal_field("Greatest fall of profit")
    max_drawdown_ratio = optional_number("Greatest fall of equity")
    signals_approved = _count("Approved signals")
    signals_rejected = _count("Rejected signals")
    fees = optional_decimal_field("Fees paid")
    fees_by_currency = Dict(required=True, allow_none=True, metadata=about("Currency to fees paid"))
    currency = NullableText("`OBS_BASE_CURRENCY`", example="USD")
    bots = List(Str(), required=True, allow_none=True)
    last_report = NullableText("Time of its last report", format="date-time")
    state = NullableText("`live`, or `silent` 60 s after its last report")
    mark_stale = Bool(required=True, allow_none=True)
    pnl_complete = Bool(required=True, allow_none=True)


class StrategiesSchema(Schema):
    """A page of strategies."""

    strategies = List(Nested(StrategySchema), required=True)
    next_page_token = next_page()
