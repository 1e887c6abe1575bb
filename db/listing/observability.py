"""The listings of reports: orders, fills, trades, positions."""

from __future__ import annotations

from db.listing.query import Column, Filter, Listing

OUTPUT_DECIMALS = 16  # of a computed amount


def rounded(value: str) -> str:
    """SQL of a computed amount with at most 16 decimals; shorter ones keep their digits."""
    return f"CASE WHEN scale({value}) > {OUTPUT_DECIMALS} THEN trim_scale(round({value}, {OUTPUT_DECIMALS})) ELSE {value} END"


_OF_STRATEGY = tuple(map(Filter, ("bot", "strategy", "symbol")))

ORDERS = Listing(
    name="orders",
    table="orders",
    source=f"SELECT *, {rounded('average_price')} AS average FROM orders",  # noqa: S608
    columns=(
        Column("time", "time"),
        Column("bot", "text"),
        Column("order_id", "text"),
        Column("strategy", "text"),
        Column("symbol", "text"),
        Column("side", "text"),
        Column("quantity", "decimal", optional=True),
        Column("order_type", "text", optional=True),
        Column("price", "decimal", optional=True),
        Column("client_order_id", "text", optional=True),
        Column("status", "text"),
        Column("reason", "text", optional=True),
        Column("filled_quantity", "decimal"),
        Column("average_price", "decimal", "average", optional=True),
        *(Column(name, "time", optional=True) for name in ("submitted", "acknowledged", "first_fill", "finished")),
        Column("arrival_price", "decimal", optional=True),
        Column("decision_price", "decimal", optional=True),
        Column("decision_time", "time", optional=True),
        Column("implicit", "boolean"),
    ),
    key=("time", "bot", "order_id"),
    filters=(*_OF_STRATEGY, Filter("status")),
)

FILLS = Listing(
    name="fills",
    table="fills",
    source=f"SELECT *, {rounded('realised')} AS pnl FROM fills",  # noqa: S608
    columns=(
        Column("time", "time"),
        Column("bot", "text"),
        Column("strategy", "text"),
        Column("fill_id", "text"),
        Column("order_id", "text"),
        Column("symbol", "text"),
        Column("side", "text"),
        Column("quantity", "decimal"),
        Column("price", "decimal"),
        Column("fee", "decimal"),
        Column("fee_currency", "text", optional=True),
        Column("currency", "text"),
        Column("multiplier", "decimal"),
        Column("liquidity", "text", optional=True),
        Column("realized_pnl", "decimal", "pnl", optional=True),
        Column("slippage_bps", "number", optional=True),
        Column("latency_ms", "number", optional=True),
        Column("voided", "boolean"),
        Column("time_received", "time", "received"),
    ),
    key=("time", "fill_id", "bot"),
    filters=_OF_STRATEGY,
)

# The fills that count, as `/api/trades` has them: amounts are numbers in JSON.
TRADES = Listing(
    name="reported_trades",
    table="trades",
    source=f"SELECT *, bot || ':' || fill_id AS trade_id, {rounded('realised')} AS pnl FROM fills WHERE NOT voided",  # noqa: S608
    columns=(
        Column("trade_id", "text"),
        Column("symbol", "text"),
        Column("side", "text"),
        Column("quantity", "literal"),
        Column("price", "literal"),
        Column("timestamp", "time", "time"),
        Column("latency_ms", "number", optional=True),
        Column("slippage_bps", "number", optional=True),
        Column("pnl", "literal", optional=True),
        Column("strategy", "text"),
        Column("order_id", "text"),
        Column("bot", "text"),
        Column("fee", "literal"),
        Column("fee_currency", "text", optional=True),
        Column("currency", "text"),
        Column("liquidity", "text", optional=True),
        Column("time_received", "time", "received"),
    ),
    key=("timestamp", "trade_id"),
    filters=(
        *_OF_STRATEGY,
        Filter("side"),
        Filter("fill_id"),
        Filter("min_quantity", ("quantity",), ">="),
        Filter("max_quantity", ("quantity",), "<="),
    ),
)
