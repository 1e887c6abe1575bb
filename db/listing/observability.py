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

_MARKED = f"""
SELECT p.bot, p.strategy, p.symbol, p.quantity, p.fees, p.currency, mark.price AS mark, coalesce(mark.stale, false) AS stale,
       CASE WHEN p.quantity <> 0 THEN {rounded("p.average")} END AS average,
       CASE WHEN p.quantity = 0 THEN 0 ELSE {rounded("((mark.price - p.average) * p.quantity * p.multiplier)")} END AS unrealised,
       CASE WHEN NOT paid.unknown THEN {rounded("(p.gross - paid.amount)")} END AS realised
FROM positions AS p
LEFT JOIN LATERAL (
    SELECT CASE WHEN p.quantity > 0 THEN given.bid ELSE given.ask END AS price, given.stale FROM given
    WHERE given.symbol = p.symbol) AS mark ON p.quantity <> 0
CROSS JOIN LATERAL (
    SELECT coalesce(sum(fee * rate), 0) AS amount, coalesce(bool_or(fee <> 0 AND rate IS NULL), false) AS unknown
    FROM (SELECT value::numeric AS fee, CASE WHEN key = p.currency THEN 1 ELSE given.rate END AS rate
          FROM jsonb_each_text(p.fees) LEFT JOIN given ON given.source = key AND given.target = p.currency) AS each) AS paid
"""  # noqa: S608

# `given` has the mark of each instrument for long and for short positions, and rates of currencies.
POSITIONS = Listing(
    name="positions",
    table="positions",
    source=_MARKED,
    given="symbol text, bid numeric, ask numeric, stale boolean, source text, target text, rate numeric",
    columns=(
        Column("bot", "text"),
        Column("strategy", "text"),
        Column("symbol", "text"),
        Column("quantity", "decimal"),
        Column("average_price", "decimal", "average", optional=True),
        Column("mark", "decimal", optional=True),
        Column("mark_stale", "boolean", "stale"),
        Column("unrealized_pnl", "decimal", "unrealised", optional=True),
        Column("realized_pnl", "decimal", "realised", optional=True),
        Column("fees_by_currency", "json", "fees"),
        Column("currency", "text"),
    ),
    key=("bot", "strategy", "symbol"),
    filters=_OF_STRATEGY,
)

# Rows that are computed by Python: see `api/rest/observability/rows.py`.
STATEMENT = Listing(
    name="statement",
    table="fills",
    columns=(
        Column("time", "time"),
        Column("fill_id", "text"),
        Column("side", "text"),
        *(Column(name, "decimal") for name in ("quantity", "price", "fee")),
        Column("fee_currency", "text"),
        Column("position", "decimal"),
        Column("average_price", "decimal", optional=True),
        Column("realized_gross", "decimal"),
        Column("realized_pnl", "decimal", optional=True),
    ),
    key=("time", "fill_id"),
    filters=(*_OF_STRATEGY, Filter("method")),
)

STRATEGIES = Listing(
    name="strategies",
    table="strategies",
    columns=(
        Column("bot", "text"),
        Column("strategy_name", "text"),
        Column("pnl", "decimal", optional=True),
        Column("daily_pnl", "decimal", optional=True),
        Column("positions", "integer"),
        Column("signals", "integer"),
        Column("win_rate", "number", optional=True),
        Column("realized_pnl", "decimal", optional=True),
        Column("unrealized_pnl", "decimal", optional=True),
        Column("position_notional", "decimal", optional=True),
        Column("profit_factor", "number", optional=True),
        Column("no_losses", "boolean"),
        Column("sharpe_ratio", "number", optional=True),
        Column("max_drawdown", "decimal", optional=True),
        Column("max_drawdown_ratio", "number", optional=True),
        Column("signals_approved", "integer"),
        Column("signals_rejected", "integer"),
        Column("fees", "decimal", optional=True),
        Column("fees_by_currency", "json"),
        Column("currency", "text"),
        Column("bots", "json"),
        Column("last_report", "time", optional=True),
        Column("state", "text"),
        Column("mark_stale", "boolean"),
        Column("pnl_complete", "boolean"),
    ),
    key=("bot", "strategy_name"),
    filters=_OF_STRATEGY,
)
