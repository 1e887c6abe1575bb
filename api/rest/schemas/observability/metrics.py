"""Answers of the routes of metrics."""

from __future__ import annotations

from marshmallow import Schema
from marshmallow.fields import Int, List, Nested, Str

from api.rest.schemas.answers import NullableText, about, output_time
from api.schemas.observability import optional_number


def _count(text: str) -> Int:
    return Int(required=True, allow_none=True, metadata=about(text))


class TrackedSymbolsSchema(Schema):
    """The instruments of which market metrics are collected."""

    symbols = List(Str(), required=True)
    count = Int(required=True)


class MarketSummarySchema(Schema):
    """Of the UTC day so far."""

    symbols_tracked = _count("Instruments of which metrics are collected")
    total_trades = _count("Trades of exchanges")
    total_volume = optional_number("Their volume")


class StrategySummarySchema(Schema):
    """Of all strategies; amounts are in `OBS_BASE_CURRENCY`."""

    active_strategies = _count("Strategies whose last report is at most 60 s old")
    total_pnl = optional_number("Realised and unrealised profit")
    daily_pnl = optional_number("Its change since 00:00 of `OBS_DAY_ZONE`")
    open_positions = _count("Positions that are not flat")


class ExecutionSummarySchema(Schema):
    """Since 00:00 of `OBS_DAY_ZONE`."""

    orders_today = _count("Orders")
    fills_today = _count("Fills")
    fill_rate = optional_number("Completely filled orders / terminal orders")
    avg_latency_ms = optional_number("From the order to its first fill")


class SystemSummarySchema(Schema):
    """Of the machine and all processes."""

    cpu_usage = optional_number("Percent of the machine")
    memory_usage = optional_number("Percent of the machine")
    uptime_seconds = optional_number("Since the start of the system")
    health_status = NullableText("`healthy`, `degraded` or `unhealthy`")


class MetricsSummarySchema(Schema):
    """The main figures of the newest snapshot. Absent figures are null."""

    timestamp = output_time("Time of the snapshot")
    market = Nested(MarketSummarySchema, required=True)
    strategy = Nested(StrategySummarySchema, required=True)
    execution = Nested(ExecutionSummarySchema, required=True)
    system = Nested(SystemSummarySchema, required=True)
