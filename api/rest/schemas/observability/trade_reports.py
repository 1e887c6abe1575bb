"""Queries and answers of the routes of reports: trades, orders, fills, positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marshmallow import Schema, ValidationError, validate, validates_schema
from marshmallow.fields import Bool, Dict, Int, List, Nested, Str

from api.rest.schemas.answers import NullableText, about, output_time
from api.rest.schemas.arguments import QuerySchema, TimeArgument, Whole
from api.rest.schemas.listings import FORMATS, ListQuerySchema, PageQuerySchema, choice, next_page, symbol_argument, token_argument
from api.schemas.observability import TIME_RANGES, number, optional_number
from config.fields import WholeNumber
from db.decimals import DECIMAL
from db.listing import observability as listings
from db.metrics.history import Span
from db.reports.model import ORDER_STATUSES, SIDES

MAX_TRADES, DEFAULT_TRADES = 1_000, 100
MAX_OFFSET = 100_000


def bot_argument(*, required: bool = False) -> Str:
    """Return the argument `bot`."""
    names = Whole(r"^[A-Za-z0-9_.-]{1,32}$", error="Not the name of a bot.")
    return Str(required=required, validate=names, metadata=about("Name of a bot", example="mm-1"))


def strategy_argument(*, required: bool = False) -> Str:
    """Return the argument `strategy`."""
    names = Whole(r"^[A-Za-z0-9_.-]{1,64}$", error="Not the name of a strategy.")
    return Str(required=required, validate=names, metadata=about("Name of a strategy", example="mean_reversion"))


def _quantity_argument(text: str) -> Str:
    return Str(validate=Whole(f"^{DECIMAL}$", error="Must be a decimal such as 0.5."), metadata=about(text, example="0.5"))


def decimal_field(text: str, example: str = "1.09450") -> Str:
    """Return the field of a decimal string."""
    return Str(required=True, metadata=about(f"{text}, a decimal string", example=example))


def optional_decimal_field(text: str) -> NullableText:
    """Return the field of a decimal string that may be null."""
    return NullableText(f"{text}, a decimal string")


def name_field(text: str, example: str) -> Str:
    """Return the field of a name."""
    return Str(required=True, metadata=about(text, example=example))


class TradeFilterSchema(PageQuerySchema):
    """The selection of trades."""

    range_names = ("start_time", "end_time")

    symbol = symbol_argument(required=False)
    side = choice(SIDES, "Side of the fill")
    start_time = TimeArgument(metadata=about("From this time on; 24 hours before the end if missing", format="date-time"))
    end_time = TimeArgument(metadata=about("Before this time", format="date-time"))
    limit = WholeNumber(
        validate=validate.Range(min=1, max=MAX_TRADES, error="Must be from {min} to {max}."),
        metadata=about(f"Maximum number of trades. Default {DEFAULT_TRADES} for JSON; CSV and NDJSON without it return the whole range"),
    )
    offset = WholeNumber(
        load_default=0,
        validate=validate.Range(max=MAX_OFFSET, error="Must be at most {max}: use page_token."),
        metadata=about("Number of trades that are left out", minimum=0),
    )
    strategy = strategy_argument()
    bot = bot_argument()
    min_quantity = _quantity_argument("Least quantity")
    max_quantity = _quantity_argument("Greatest quantity")
    order = Str(load_default="desc", validate=validate.OneOf(["asc", "desc"]), metadata=about("Newest or oldest first"))
    format = Str(load_default="json", validate=validate.OneOf(FORMATS))
    page_token = token_argument(listings.TRADES)

    @validates_schema
    def _check_page(self, data: dict[str, Any], **_: Any) -> None:
        if "page_token" in data and data.get("offset"):
            raise ValidationError("Not together with page_token.", "offset")


@dataclass(frozen=True, slots=True)
class SummaryQuery:
    """A request for sums over the trades or orders of a range of time that ends now."""

    time_range: Span
    symbol: str | None = None


class SummaryQuerySchema(QuerySchema):
    """The range of time, and the instrument if it is one only."""

    makes = SummaryQuery

    symbol = symbol_argument(required=False)
    time_range = choice(TIME_RANGES, "Range of time that ends now", load_default="24h")


class TradeStatsSchema(Schema):
    """Sums over trades. Averages and ratios are null without a trade for them."""

    count = Int(required=True)
    total_volume = number("Sum of quantities")
    avg_price = optional_number("Average price, weighted by quantity")
    avg_size = optional_number("Average quantity")
    buy_count = Int(required=True)
    sell_count = Int(required=True)
    pnl = optional_number("Sum of `pnl`, in `currency`; null if no part of it can be converted")
    currency = Str(required=True, metadata=about("`OBS_BASE_CURRENCY`", example="USD"))
    wins = Int(required=True, metadata=about("Trades with a positive `pnl`"))
    losses = Int(required=True, metadata=about("Trades with a negative `pnl`"))
    draws = Int(required=True, metadata=about("Trades with a `pnl` of exactly 0"))
    win_rate = optional_number("wins / (wins + losses + draws)")
    profit_factor = optional_number("Sum of the wins / sum of the losses; null without a loss, or if a part cannot be converted")
    by_currency = Dict(required=True, metadata=about("Currency to the part of `pnl` that cannot be converted"))


class QualityFiguresSchema(Schema):
    """Quality of executions. A figure is null without an order for it."""

    fill_rate = optional_number("Completely filled orders / terminal orders")
    avg_latency_ms = optional_number("From the order to its first fill, by the bot's clock")
    avg_slippage_bps = optional_number("Weighted by quantity; positive is a cost")
    rejection_rate = optional_number("Rejected orders / orders")
    cancellation_rate = optional_number("Cancelled and expired orders / orders")
    quantity_fill_rate = optional_number("Filled quantity / ordered quantity of terminal orders")
    latency_p50_ms = optional_number("Latency that half of the orders do not exceed")
    latency_p95_ms = optional_number("The same for 95 percent")
    latency_p99_ms = optional_number("The same for 99 percent")
    market_impact_bps = optional_number("Move of the mid from the order to 5 s after its last fill, weighted by quantity")
    implementation_shortfall_bps = optional_number("Perold's shortfall against the decision price, weighted by quantity")


class ExecutionQualitySchema(QualityFiguresSchema):
    """Quality of the executions of all strategies, and of each."""

    by_strategy = Dict(keys=Str(), values=Nested(QualityFiguresSchema), required=True, metadata=about("Strategy to its figures"))
    time_range = Str(required=True)


class OrdersQuerySchema(ListQuerySchema):
    """A range of orders; `start` and `end` refer to the time of the last report of an order."""

    bot = bot_argument()
    strategy = strategy_argument()
    symbol = symbol_argument(required=False)
    status = choice(ORDER_STATUSES, "State of the order")
    page_token = token_argument(listings.ORDERS)


class OrderSchema(Schema):
    """The state of an order."""

    time = output_time("Time of the report whose status counts")
    bot = name_field("Its bot", "mm-1")
    order_id = name_field("Its id within the bot", "o-6")
    strategy = name_field("Its strategy", "mean_reversion")
    symbol = name_field("Its instrument", "EUR_USD")
    side = Str(required=True)
    quantity = optional_decimal_field("Ordered quantity; null if `implicit`")
    order_type = NullableText("As reported; null if `implicit`")
    price = optional_decimal_field("Its limit")
    client_order_id = NullableText("As reported")
    status = Str(required=True, metadata=about("The status with the greatest time"))
    reason = NullableText("As reported")
    filled_quantity = decimal_field("Sum of its fills", "1000")
    average_price = optional_decimal_field("Average price of its fills")
    submitted = NullableText("Time of `new`", format="date-time")
    acknowledged = NullableText("Time of `accepted`", format="date-time")
    first_fill = NullableText("Time of its first fill", format="date-time")
    finished = NullableText("Time of its terminal status", format="date-time")
    arrival_price = optional_decimal_field("As reported, else the mid at its time")
    decision_price = optional_decimal_field("As reported")
    decision_time = NullableText("As reported", format="date-time")
    implicit = Bool(required=True, metadata=about("True if it is known from a fill alone"))


class OrdersSchema(Schema):
    """A page of orders."""

    orders = List(Nested(OrderSchema), required=True)
    next_page_token = next_page()


class FillsQuerySchema(ListQuerySchema):
    """A range of fills."""

    bot = bot_argument()
    strategy = strategy_argument()
    symbol = symbol_argument(required=False)
    page_token = token_argument(listings.FILLS)


class FillSchema(Schema):
    """A fill."""

    time = output_time("By the bot's clock")
    bot = name_field("Its bot", "mm-1")
    strategy = name_field("Its strategy", "mean_reversion")
    fill_id = name_field("Its id within the bot", "f-17")
    order_id = name_field("Its order within the bot", "o-6")
    symbol = name_field("Its instrument", "EUR_USD")
    side = Str(required=True)
    quantity = decimal_field("Greater than 0", "1000")
    price = decimal_field("Greater than 0")
    fee = decimal_field("Positive: paid, negative: a rebate", "0.02")
    fee_currency = NullableText("Of the fee", example="USD")
    currency = name_field("Of the price", "USD")
    multiplier = decimal_field("Of amounts", "1")
    liquidity = NullableText("`maker` or `taker`; null if not reported")
    realized_pnl = optional_decimal_field("Gross profit of the closed quantity less its share of the fee; null if nothing was closed")
    slippage_bps = optional_number("Against the arrival price; positive is a cost")
    latency_ms = optional_number("From the order to its first fill")
    voided = Bool(required=True, metadata=about("True if a correction has cancelled it"))
    time_received = output_time("Time at which the report was accepted")


class FillsSchema(Schema):
    """A page of fills."""

    fills = List(Nested(FillSchema), required=True)
    next_page_token = next_page()
