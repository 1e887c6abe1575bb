"""The tables that clients can list: columns, keys and filters."""

from __future__ import annotations

from dataclasses import replace

from db.alerts import FIGURE_TYPES, SYSTEM_TYPES
from db.listing.query import Column, Filter, Listing

PRICES = Listing(
    name="ticks",
    table="prices",
    columns=(
        Column("symbol", "text", "instrument"),
        Column("time", "time"),
        Column("received", "time"),
        Column("bid", "decimal"),
        Column("ask", "decimal"),
        Column("mid", "decimal"),
        Column("volume", "decimal", optional=True),
        Column("source", "text"),
        Column("seq", "integer"),
        Column("epoch", "text"),
    ),
    key=("time", "epoch", "seq"),
    filters=(Filter("symbol", ("instrument",)),),
)

TRADES = Listing(
    name="trades",
    table="raw_trades",
    columns=(
        Column("trade_id", "integer"),
        Column("time", "time"),
        Column("price", "decimal"),
        Column("quantity", "decimal"),
        Column("side", "text"),
    ),
    key=("time", "trade_id"),
    filters=(Filter("symbol"),),
)


def _candles(prefix: str, condition: str | None) -> Listing:
    return Listing(
        name="candles",
        table="candles",
        columns=(
            Column("start_time", "time"),
            Column("end_time", "time"),
            *(Column(name, "decimal", prefix + name) for name in ("open", "high", "low", "close")),
            Column("volume", "decimal"),
            Column("complete", "boolean"),
            Column("trades", "integer", optional=True),
            Column("source", "text"),
        ),
        key=("start_time",),
        filters=(Filter("symbol"), Filter("interval")),
        condition=condition,
    )


# price -> candles of that price; most candles have mid prices only
CANDLES = {
    "mid": _candles("", None),
    "bid": _candles("bid_", "bid_open IS NOT NULL"),
    "ask": _candles("ask_", "ask_open IS NOT NULL"),
}

GAPS = Listing(
    name="gaps",
    table="gaps",
    columns=(
        Column("id", "integer"),
        Column("source", "text"),
        Column("symbol", "text"),
        Column("kind", "text"),
        Column("interval", "text", optional=True),
        Column("first_id", "integer", optional=True),
        Column("last_id", "integer", optional=True),
        Column("start_time", "time"),
        Column("end_time", "time"),
        Column("missing", "integer"),
        Column("state", "text"),
        Column("reason", "text", optional=True),
        Column("detected", "time"),
        Column("updated", "time"),
    ),
    key=("start_time", "id"),
    filters=tuple(map(Filter, ("source", "symbol", "kind", "state"))),
)

VOLATILITY = Listing(
    name="volatility",
    table="volatility",
    columns=(
        Column("time", "time"),
        Column("estimator", "text"),
        Column("volatility", "number"),
        Column("annualised", "number"),
        Column("observations", "integer"),
    ),
    key=("time", "estimator"),
    filters=(Filter("symbol"), Filter("estimator")),
)

# One pair by one method; `symbol1` is the smaller of the two, as in the table.
CORRELATIONS = Listing(
    name="correlations",
    table="correlations",
    columns=(
        Column("time", "time"),
        Column("correlation", "number", optional=True),
        Column("observations", "integer"),
    ),
    key=("time",),
    filters=tuple(map(Filter, ("symbol1", "symbol2", "method"))),
)

ALERTS = Listing(
    name="alerts",
    table="alerts",
    columns=(
        Column("id", "integer"),
        Column("type", "text"),
        Column("symbol", "text", optional=True),
        Column("symbol2", "text", optional=True),
        Column("severity", "text"),
        Column("time", "time"),
        Column("value", "number", optional=True),
        Column("previous", "number", optional=True),
        Column("threshold", "number", optional=True),
        Column("message", "text"),
        Column("published", "time", optional=True),
        Column("alert_id", "text"),
        Column("subject", "text"),
        Column("state", "text"),
        Column("active", "boolean", computed="state <> 'resolved'"),
        Column("updated_at", "time"),
        Column("acknowledged_at", "time", optional=True),
        Column("acknowledged_by", "text", optional=True),
        Column("comment", "text", optional=True),
        Column("resolved_at", "time", optional=True),
    ),
    key=("time", "id"),
    filters=(Filter("type"), Filter("symbol", ("symbol", "symbol2")), Filter("severity"), Filter("state"), Filter("subject")),
    instruments=("symbol", "symbol2"),
)
ALERTS_OF_FIGURES = replace(ALERTS, condition=f"type IN {FIGURE_TYPES}")
ALERTS_OF_SYSTEM = replace(ALERTS, condition=f"type IN {SYSTEM_TYPES}")
