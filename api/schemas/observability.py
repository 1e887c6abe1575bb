"""Answers and events of observability that REST and the hub share, in their documents.

Fields of `number` are JSON numbers with exact digits on `/api/*` and decimal strings in the hub's
namespace `/metrics`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

from marshmallow import Schema, validate
from marshmallow.fields import Bool, Dict, Float, Int, List, Nested, Str

from db.metrics.history import INTERVALS, Span
from db.reports.model import LIQUIDITY, SIDES

TIME_RANGES: tuple[str, ...] = get_args(Span)
METRIC_TYPES = ("market_data", "strategy", "execution", "system")
EVENT_TYPES = (
    "metric_update", "metric_threshold",
    "trade_executed",
    "order_placed", "order_filled", "order_cancelled", "order_rejected",
    "signal_generated", "signal_approved", "signal_rejected", "position_opened", "position_closed",
    "system_alert",
    "component_error", "connection_lost", "connection_restored",
)  # fmt: skip


def about(text: str, **more: Any) -> dict[str, Any]:
    """Return the metadata of a field: its description and more OpenAPI properties."""
    return {"description": text, **more}


def number(text: str, **more: Any) -> Float:
    """Return the field of a price, quantity or amount, or of a ratio."""
    return Float(required=True, metadata=about(text, **more))


def optional_number(text: str) -> Float:
    """Return the field of a number that may be null."""
    return Float(required=True, allow_none=True, metadata=about(text))


def optional_text(text: str, **more: Any) -> Str:
    """Return the field of a text that may be null."""
    return Str(required=True, allow_none=True, metadata=about(text, **more))


def moment(text: str) -> Str:
    """Return the field of a time."""
    return Str(required=True, metadata=about(text, format="date-time"))


def section(text: str) -> Dict:
    """Return the field of a section of a snapshot; more fields may be added."""
    return Dict(required=True, metadata=about(text))


def _choices(names: Iterable[str], text: str) -> dict[str, Any]:
    return {"component": {"type": "string", "enum": list(names), "description": text}}


class MetricsSnapshotSchema(Schema):
    """The four sections at one time. A section that never had values is `{}`."""

    timestamp = moment("Time of the snapshot")
    market_data = section("Prices and trades by symbol")
    strategy = section("Profit and signals by strategy")
    execution = section("Orders and fills of the day")
    system = section("Machine and processes")
    seq = Int(required=True, metadata=about("Rises with each snapshot of an `epoch`"))
    epoch = Str(required=True, metadata=about("Changes if the observer restarts"))
    age_ms = number("Age of the snapshot in milliseconds")
    stale = Bool(required=True, metadata=about("True if it is older than 5 s"))


class MetricsHistoryResponseSchema(Schema):
    """A page of records, by type, then by time."""

    start_time = moment("From this time on")
    end_time = moment("Before this time")
    interval = Str(required=True)
    data = List(Dict(), required=True, metadata=about("Records with `type`, `timestamp` (start of the interval) and figures"))
    count = Int(required=True, metadata=about("Number of records in `data`"))
    next_page_token = optional_text("`page_token` of the next page; null at the end")


class TradeSchema(Schema):
    """A fill that a bot has reported. Amounts are numbers with the digits of the report."""

    trade_id = Str(required=True, metadata=about("BOT:FILL_ID", example="mm-1:f-17"))
    symbol = Str(required=True, metadata=about("Its instrument", example="EUR_USD"))
    side = Str(required=True, validate=validate.OneOf(SIDES))
    quantity = number("Greater than 0", example=1000)
    price = number("Greater than 0", example=1.0945)
    timestamp = moment("Time of the fill, by the bot's clock")
    latency_ms = optional_number("From the order to its first fill, by the bot's clock")
    slippage_bps = optional_number("Against the arrival price; positive is a cost")
    pnl = optional_number("Gross profit of the closed quantity less its share of the fee; null if nothing was closed")
    strategy = Str(required=True, metadata=about("Its strategy within the bot", example="mean_reversion"))
    order_id = Str(required=True, metadata=about("Its order within the bot", example="o-6"))
    bot = Str(required=True, metadata=about("The bot that reported it", example="mm-1"))
    fee = number("Positive: paid, negative: a rebate")
    fee_currency = optional_text("Of the fee", example="USD")
    currency = Str(required=True, metadata=about("Of the price and `pnl`", example="USD"))
    liquidity = optional_text(" or ".join(f"`{each}`" for each in LIQUIDITY) + "; null if not reported")
    time_received = moment("Time at which the report was accepted")


class TradeHistoryResponseSchema(Schema):
    """A page of trades."""

    trades = List(Nested(TradeSchema), required=True)
    total = Int(required=True, metadata=about("Number of trades of all pages"))
    limit = Int(required=True)
    offset = Int(required=True)
    next_page_token = optional_text("`page_token` of the next page; null at the end")


class SystemHealthSchema(Schema):
    """State of the machine and of all processes, for people; probes use `/health`."""

    status = Str(required=True, metadata=about("`healthy`, `degraded` or `unhealthy`"))
    components = Dict(keys=Str(), values=Dict(), required=True, metadata=about("Name to `status` and figures"))
    resources = Dict(required=True, metadata=about("`cpu`, `memory` and `disk`, in percent"))
    connections = Dict(required=True, metadata=about("`market_data`, `execution` and `database`"))
    alerts = List(Dict(), required=True, metadata=about("Firing and acknowledged alerts, newest first"))


class PerformanceMetricsSchema(Schema):
    """Delays and rates of the last 60 s."""

    latency_p50 = optional_number("Milliseconds from the price received to the sockets")
    latency_p95 = optional_number("The same, for 95 percent of the prices")
    latency_p99 = optional_number("The same, for 99 percent of the prices")
    throughput_per_sec = optional_number("Prices per second")
    cpu_usage = optional_number("Percent of the machine")
    memory_usage = optional_number("Percent of the machine")
    queue_depth = Int(required=True, allow_none=True, metadata=about("Accepted messages that are not stored yet"))
    stages = Dict(required=True, metadata=about("Name of a stage to its delays in milliseconds"))


# events


class BaseEventSchema(Schema):
    """The fields of every `observability_event`."""

    event_id = Str(required=True)
    event_type = Str(required=True, validate=validate.OneOf(EVENT_TYPES))
    timestamp = moment("Time of the cause")
    source = Str(required=True, metadata=about("The process, or the bot"))
    metadata = Dict(required=True)


class MetricEventSchema(BaseEventSchema):
    """The value of an alert rule rises above its threshold, or falls below."""

    metric_name = Str(required=True)
    metric_value = number("The value")
    threshold = number("Its threshold")
    exceeded = Bool(required=True)


class TradeEventSchema(BaseEventSchema):
    """A fill."""

    trade_id = Str(required=True, metadata=about("BOT:FILL_ID"))
    symbol = Str(required=True)
    side = Str(required=True, validate=validate.OneOf(SIDES))
    quantity = Str(required=True)
    price = Str(required=True)
    strategy = Str(required=True)
    pnl = optional_text("As in a trade")


class OrderEventSchema(BaseEventSchema):
    """A new state of an order."""

    order_id = Str(required=True)
    client_order_id = optional_text("As reported")
    symbol = Str(required=True)
    side = Str(required=True, validate=validate.OneOf(SIDES))
    quantity = optional_text("As reported; null if the order is known from a fill alone")
    order_type = optional_text("As reported")
    status = Str(required=True)
    reason = optional_text("For people")


class StrategyEventSchema(BaseEventSchema):
    """A signal, or a position that is opened or closed."""

    strategy_name = Str(required=True)
    event_data = Dict(required=True)


class AlertEventSchema(BaseEventSchema):
    """A new state of an alert."""

    alert_type = Str(required=True, metadata=about("`warning` or `critical`"))
    severity = Str(required=True, metadata=about("`medium` or `critical`"))
    message = Str(required=True, metadata=about("For people"))
    details = Dict(required=True)
    acknowledged = Bool(required=True)


class SystemEventSchema(BaseEventSchema):
    """A part of the system fails, or works again."""

    component = Str(required=True)
    status = Str(required=True)
    message = Str(required=True, metadata=about("For people"))
    details = Dict(required=True)


_EVENTS = (BaseEventSchema, MetricEventSchema, TradeEventSchema, OrderEventSchema, StrategyEventSchema, AlertEventSchema, SystemEventSchema)
_ANSWERS = (MetricsSnapshotSchema, MetricsHistoryResponseSchema, SystemHealthSchema, PerformanceMetricsSchema)
# Components of the documents that no route of REST has: name -> arguments of apispec's `schema`.
COMPONENTS: dict[str, dict[str, Any]] = {
    "TimeRange": _choices(TIME_RANGES, "A range of time that ends now"),
    "AggregationInterval": _choices(INTERVALS, "Length of the interval of a record"),
    "EventType": _choices(EVENT_TYPES, "Cause of an `observability_event`"),
    **{schema.__name__.removesuffix("Schema"): {"schema": schema} for schema in (*_ANSWERS, *_EVENTS)},
}
