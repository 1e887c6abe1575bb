"""SQL of sums over trades and orders (store layer): what the routes `/api/trades/…` return.

Formulas: docs/observability/figures.md. Voided fills do not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from db.past_quotes import IMPACT_DELAY, MID_AGE
from db.postgres import Cursor, one
from db.reports.model import TERMINAL_STATUSES

_AVERAGES = "trim_scale(round(sum(price * quantity) / sum(quantity), 16)), trim_scale(round(avg(quantity), 16))"
_WHERE = "WHERE time >= %(start)s AND time < %(end)s AND coalesce(symbol = %(symbol)s, true)"


@dataclass(frozen=True, slots=True)
class TradeTotals:
    """Numbers and quantities of the trades. The averages are None without a trade.

    `average_price` is weighted by quantity.
    """

    count: int
    volume: Decimal
    average_price: Decimal | None
    average_size: Decimal | None
    bought: int
    sold: int


@dataclass(frozen=True, slots=True)
class PnlSums:
    """The trades of one currency that closed a quantity: their profits. `lost` is at most 0."""

    currency: str
    wins: int
    losses: int
    draws: int
    won: Decimal
    lost: Decimal


def trade_totals(cursor: Cursor, symbol: str | None, start: datetime, end: datetime) -> TradeTotals:
    """Sum the trades of a range of time; `symbol` None is all."""
    cursor.execute(
        f"SELECT count(*), coalesce(sum(quantity), 0), {_AVERAGES},"  # noqa: S608
        f" count(*) FILTER (WHERE side = 'buy'), count(*) FILTER (WHERE side = 'sell') FROM fills {_WHERE} AND NOT voided",
        {"symbol": symbol, "start": start, "end": end},
    )
    count, volume, price, size, bought, sold = one(cursor)
    return TradeTotals(count, Decimal(volume), _decimal(price), _decimal(size), bought, sold)


def pnl_sums(cursor: Cursor, symbol: str | None, start: datetime, end: datetime) -> list[PnlSums]:
    """Sum the profits of the trades by currency."""
    cursor.execute(
        "SELECT currency, count(*) FILTER (WHERE realised > 0), count(*) FILTER (WHERE realised < 0), count(*) FILTER (WHERE realised = 0),"  # noqa: S608
        " coalesce(sum(realised) FILTER (WHERE realised > 0), 0), coalesce(sum(realised) FILTER (WHERE realised < 0), 0)"
        f" FROM fills {_WHERE} AND NOT voided AND realised IS NOT NULL GROUP BY currency ORDER BY currency",
        {"symbol": symbol, "start": start, "end": end},
    )
    return [
        PnlSums(currency, wins, losses, draws, Decimal(won), Decimal(lost))
        for currency, wins, losses, draws, won, lost in cursor.fetchall()
    ]


# One row per order whose last report is in the range. Times of an order are those of its bot.
_ORDERS = f"""
SELECT o.strategy, o.status, o.quantity, o.filled_quantity, o.status = ANY (%(terminal)s) AS ended,
       f.quantity AS slipped_quantity, f.slippage,
       CASE WHEN o.first_fill >= o.submitted THEN extract(epoch FROM o.first_fill - o.submitted)::double precision * 1000 END AS latency,
       CASE WHEN before.mid > 0 THEN s.sign * (after.mid - before.mid) / before.mid * 10000 END AS impact,
       CASE WHEN o.decision_price > 0 AND o.finished IS NOT NULL AND o.quantity > 0 AND f.foreign_fees IS NOT TRUE THEN
           (coalesce(f.fees, 0) / f.multiplier
            + s.sign * (coalesce(f.value, 0) - o.decision_price * coalesce(f.filled, 0))
            + CASE WHEN coalesce(f.filled, 0) >= o.quantity THEN 0
                   ELSE s.sign * (ending.mid - o.decision_price) * (o.quantity - coalesce(f.filled, 0)) END)
           / (o.decision_price * o.quantity) * 10000 END AS shortfall
FROM (SELECT * FROM orders {_WHERE}) AS o
CROSS JOIN LATERAL (SELECT CASE WHEN o.side = 'buy' THEN 1 ELSE -1 END AS sign) AS s
CROSS JOIN LATERAL (
    SELECT max(time) AS last, sum(quantity) AS filled, sum(price * quantity) AS value, sum(fee) AS fees,
           coalesce(max(multiplier), 1) AS multiplier,
           bool_or(fee <> 0 AND coalesce(fee_currency, currency) <> currency) AS foreign_fees,
           sum(quantity) FILTER (WHERE slippage_bps IS NOT NULL) AS quantity,
           sum(slippage_bps::numeric * quantity) FILTER (WHERE slippage_bps IS NOT NULL) AS slippage
    FROM fills WHERE bot = o.bot AND strategy = o.strategy AND symbol = o.symbol AND order_id = o.order_id AND NOT voided
      AND time >= %(first)s) AS f
LEFT JOIN LATERAL (SELECT mid FROM prices WHERE instrument = o.symbol AND time <= o.submitted AND time > o.submitted - %(age)s
    ORDER BY time DESC LIMIT 1) AS before ON f.last IS NOT NULL
LEFT JOIN LATERAL (SELECT mid FROM prices WHERE instrument = o.symbol AND time <= f.last + %(delay)s AND time > f.last + %(delay)s - %(age)s
    ORDER BY time DESC LIMIT 1) AS after ON f.last IS NOT NULL
LEFT JOIN LATERAL (SELECT mid FROM prices WHERE instrument = o.symbol AND time <= o.finished AND time > o.finished - %(age)s
    ORDER BY time DESC LIMIT 1) AS ending ON o.decision_price IS NOT NULL AND coalesce(f.filled, 0) < o.quantity
"""  # noqa: S608

_PERCENTILES = "percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY latency)"
_ENDED = "FILTER (WHERE ended)"
_WHOLE = "FILTER (WHERE ended AND quantity IS NOT NULL)"  # an order that is known from fills alone has no quantity
_QUALITY = f"""
SELECT strategy, grouping(strategy) = 1,
       (count(*) FILTER (WHERE ended AND status = 'filled'))::double precision / nullif(count(*) {_ENDED}, 0),
       (sum(filled_quantity) {_WHOLE} / sum(quantity) {_WHOLE})::double precision,
       (count(*) FILTER (WHERE status = 'rejected'))::double precision / nullif(count(*), 0),
       (count(*) FILTER (WHERE status IN ('cancelled', 'expired')))::double precision / nullif(count(*), 0),
       avg(latency), {_PERCENTILES},
       (sum(slippage) / nullif(sum(slipped_quantity), 0))::double precision,
       (sum(impact * filled_quantity) / nullif(sum(filled_quantity) FILTER (WHERE impact IS NOT NULL), 0))::double precision,
       (sum(shortfall * quantity) / nullif(sum(quantity) FILTER (WHERE shortfall IS NOT NULL), 0))::double precision
FROM ({_ORDERS}) AS each GROUP BY GROUPING SETS ((strategy), ()) ORDER BY strategy
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Quality:
    """The quality of executions; each figure is None without an order for it."""

    fill_rate: float | None = None
    quantity_fill_rate: float | None = None
    rejection_rate: float | None = None
    cancellation_rate: float | None = None
    avg_latency_ms: float | None = None
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    latency_p99_ms: float | None = None
    avg_slippage_bps: float | None = None
    market_impact_bps: float | None = None
    implementation_shortfall_bps: float | None = None


def execution_quality(cursor: Cursor, symbol: str | None, start: datetime, end: datetime) -> tuple[Quality, dict[str, Quality]]:
    """Return the quality of all orders of a range of time, and strategy -> that of its orders."""
    parameters: dict[str, Any] = {
        "symbol": symbol, "start": start, "end": end, "first": start - timedelta(days=30), "terminal": list(TERMINAL_STATUSES),
        "age": MID_AGE, "delay": IMPACT_DELAY,
    }  # fmt: skip
    cursor.execute(_QUALITY, parameters)
    everything, by_strategy = Quality(), {}
    for strategy, is_total, filled, quantity, rejected, cancelled, latency, percentiles, *costs in cursor.fetchall():
        found = Quality(filled, quantity, rejected, cancelled, latency, *(percentiles or (None, None, None)), *costs)
        if is_total:
            everything = found
        else:
            by_strategy[strategy] = found
    return everything, by_strategy


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
