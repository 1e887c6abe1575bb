"""Metrics: the newest snapshot, stored ones, and the instruments of which they are collected."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from flask import Response

from api.access.model import OBSERVE, OPERATE
from api.rest.context import context
from api.rest.errors import unknown_instrument
from api.rest.instruments import refuse_unknown
from api.rest.limits.requests import spend_rows
from api.rest.observability import history
from api.rest.observability.exact import JSON, exact
from api.rest.observability.snapshot import newest
from api.rest.routing import Routes
from api.rest.schemas.answers import ErrorResponseSchema
from api.rest.schemas.observability.metrics import MetricsSummarySchema, TrackedSymbolsSchema
from api.schemas.history import HistoryRequest, MetricsHistoryRequestSchema
from api.schemas.observability import MetricsHistoryResponseSchema, MetricsSnapshotSchema
from db.instruments import all_instruments, track_instrument, tracked_symbols

_UNAVAILABLE = {503: ErrorResponseSchema}
_UNKNOWN = {404: ErrorResponseSchema}

routes = Routes("metrics", "Metrics of the market, strategies, executions and the system")


@routes.get("/api/metrics/current", MetricsSnapshotSchema, scope=OBSERVE, fails=_UNAVAILABLE)
def current() -> Response:
    """The newest snapshot.

    `stale` is true if it is older than 5 s. Without any snapshot the answer is 503.
    """
    return Response(newest().body(context().clock()), content_type=JSON)


@routes.get("/api/metrics/summary", MetricsSummarySchema, scope=OBSERVE, fails=_UNAVAILABLE)
def summary() -> Response:
    """The main figures of the newest snapshot."""
    seen = newest()
    market, strategy, execution, system = map(seen.section, ("market_data", "strategy", "execution", "system"))
    strategies = strategy.get("strategies")
    return exact(
        {
            "timestamp": seen.snapshot.timestamp,
            "market": {
                "symbols_tracked": market.get("symbols_tracked"),
                "total_trades": market.get("total_trades"),
                "total_volume": _decimal(market.get("total_volume")),
            },
            "strategy": {
                "active_strategies": None if strategies is None else sum(each["state"] == "live" for each in strategies.values()),
                "total_pnl": _decimal(strategy.get("total_pnl")),
                "daily_pnl": _decimal(strategy.get("daily_pnl")),
                "open_positions": strategy.get("open_positions"),
            },
            "execution": {name: execution.get(name) for name in ("orders_today", "fills_today", "fill_rate", "avg_latency_ms")},
            "system": {
                "cpu_usage": system.get("cpu_percent"),
                "memory_usage": system.get("memory_percent"),
                "uptime_seconds": system.get("uptime"),
                "health_status": system.get("health"),
            },
        }
    )


@routes.post(
    "/api/metrics/history",
    MetricsHistoryResponseSchema,
    takes=MetricsHistoryRequestSchema,
    scope=OBSERVE,
    fails=_UNKNOWN,
)
def stored(request: HistoryRequest) -> Response:
    """Stored metrics of a range of time, in records of one interval, by type, then by time.

    Intervals of a day are those of UTC. The records of `1m` and longer intervals follow a minute
    later. `execution` has one record for all selected strategies.
    """
    app = context()
    answer = app.reads.read(lambda cursor: history.read(cursor, request, app.clock()))
    if request.symbols and "market_data" in request.metric_types and request.page_token is answer["next_page_token"] is None:
        found = {record.get("symbol") for record in answer["data"]}
        refuse_unknown("symbols", [name for name in request.symbols if name not in found])
    spend_rows(answer["count"])
    return exact(answer)


@routes.get("/api/metrics/symbols", TrackedSymbolsSchema, scope=OBSERVE)
def symbols() -> Any:
    """The instruments of which market metrics are collected."""
    return _listed(context().reads.read(tracked_symbols))


@routes.post("/api/metrics/symbols/<symbol>", TrackedSymbolsSchema, scope=OPERATE, fails=_UNKNOWN)
def track(symbol: str) -> Any:
    """Collect the market metrics of an instrument. Repeated, it changes nothing."""
    return _track(symbol, tracked=True)


@routes.delete("/api/metrics/symbols/<symbol>", TrackedSymbolsSchema, scope=OPERATE, fails=_UNKNOWN)
def untrack(symbol: str) -> Any:
    """Collect the market metrics of an instrument no more. Repeated, it changes nothing."""
    return _track(symbol, tracked=False)


def _track(symbol: str, *, tracked: bool) -> dict[str, Any]:
    with context().store.transaction() as cursor:
        if "\0" in symbol or not track_instrument(cursor, symbol, tracked=tracked):
            known = frozenset(each.symbol for each in all_instruments(cursor))
            raise unknown_instrument("symbol", [symbol], known, lambda _: True)
        return _listed(tracked_symbols(cursor))


def _listed(names: list[str]) -> dict[str, Any]:
    return {"symbols": names, "count": len(names)}


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
