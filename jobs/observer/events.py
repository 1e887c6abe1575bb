"""Bodies of the channel `observability_events`. Pure.

Decimals are strings. `event_id` is derived from the cause, so that a repeated event is recognised.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from db.figures.positions import Applied
from db.reports.fills import FillRow
from db.reports.model import Order, Report, Signal
from db.timestamps import format_time
from jobs.observer.figures.sections import decimal_text, rounded
from jobs.observer.fold.batch import Folded
from jobs.observer.fold.repeats import Happened

Event = dict[str, Any]
SOURCE = "observer"
_received_text = lru_cache(maxsize=64)(format_time)  # the reports of one batch have the same time

# status of an order -> event; others have none
ORDER_EVENTS = {
    "new": "order_placed", "filled": "order_filled", "cancelled": "order_cancelled", "expired": "order_cancelled",
    "rejected": "order_rejected",
}  # fmt: skip


def base_event(event_id: str, event_type: str, time: datetime | str, source: str, metadata: Mapping[str, Any] | None = None) -> Event:
    """The fields of every event. `time` may be text in contract form."""
    timestamp = time if isinstance(time, str) else format_time(time)
    return {"event_id": event_id, "event_type": event_type, "timestamp": timestamp, "source": source, "metadata": metadata or {}}


def system_event(
    event_id: str, event_type: str, time: datetime, component: str, status: str, message: str, details: Mapping[str, Any] | None = None
) -> Event:
    """`component_error`, `connection_lost` or `connection_restored`."""
    base = base_event(event_id, event_type, time, SOURCE)
    return {**base, "component": component, "status": status, "message": message, "details": details or {}}


def events_of(folded: Folded, now: datetime) -> Iterator[Event]:
    """The events of a batch: those of an earlier one that may be missing, then its own."""
    yield from _events(folded.before)
    yield from _events(folded.happened)
    for report in folded.conflicts:
        yield _conflict(report, now)


def _events(happened: Happened) -> Iterator[Event]:
    """The events of orders and signals, of fills, and of turns of positions."""
    for report in happened.reports:
        if isinstance(report, Order) and report.status in ORDER_EVENTS:
            yield _order(report)
        elif isinstance(report, Signal):
            yield _signal(report)
    yield from map(_trade, happened.fills)
    for step in happened.steps:
        yield from _turns(step.fill, step.applied)


def _order(order: Order) -> Event:
    return {
        **base_event(f"{order.bot}:order:{order.id}", ORDER_EVENTS[order.status], order.time, order.bot, order.metadata),
        "order_id": order.order_id,
        "client_order_id": order.client_order_id,
        "symbol": order.symbol,
        "side": order.side,
        "quantity": _text(order.quantity),
        "order_type": order.order_type,
        "status": order.status,
        "reason": order.reason,
    }


def _signal(signal: Signal) -> Event:
    data = {"symbol": signal.symbol, "signal": signal.signal, "price": _text(signal.price), "confidence": signal.confidence}
    event = base_event(f"{signal.bot}:signal:{signal.id}", f"signal_{signal.outcome}", signal.time, signal.bot, signal.metadata)
    return {**event, "strategy_name": signal.strategy, "event_data": data}


def _trade(row: FillRow) -> Event:
    trade = _whole_trade(row)
    own = {name: trade[name] for name in ("trade_id", "symbol", "side", "quantity", "price", "strategy", "pnl")}
    return {**base_event(f"{row.bot}:fill:{row.fill_id}", "trade_executed", trade["timestamp"], row.bot, {"trade": trade}), **own}


def _whole_trade(row: FillRow) -> dict[str, Any]:
    """The trade as `GET /api/trades` has it, with decimals as strings."""
    return {
        "trade_id": f"{row.bot}:{row.fill_id}",
        "symbol": row.symbol,
        "side": row.side,
        "quantity": _text(row.quantity),
        "price": _text(row.price),
        "timestamp": format_time(row.time),
        "latency_ms": row.latency_ms,
        "slippage_bps": row.slippage_bps,
        "pnl": _text(rounded(row.realised)),
        "strategy": row.strategy,
        "order_id": row.order_id,
        "bot": row.bot,
        "fee": _text(row.fee),
        "fee_currency": row.fee_currency,
        "currency": row.currency,
        "liquidity": row.liquidity,
        "time_received": _received_text(row.received),
    }


def _turns(fill: FillRow, applied: Applied) -> Iterator[Event]:
    """`position_closed` and `position_opened`; a flip is both."""
    quantity, opened = applied.position.quantity, fill.quantity - applied.closed
    flips = bool(opened and applied.closed)
    if applied.closed and (flips or not quantity):
        yield _turn("position_closed", fill, Decimal(0), applied.gross)
    if quantity and (flips or (abs(quantity) == fill.quantity and not applied.closed)):
        yield _turn("position_opened", fill, quantity, None)


def _turn(kind: str, fill: FillRow, quantity: Decimal, gross: Decimal | None) -> Event:
    data = {"symbol": fill.symbol, "quantity": _text(quantity), "price": _text(fill.price), "gross": _text(rounded(gross))}
    event = base_event(f"{fill.bot}:{kind}:{fill.fill_id}", kind, fill.time, fill.bot)
    return {**event, "strategy_name": fill.strategy, "event_data": data}


def _conflict(report: Report, now: datetime) -> Event:
    details = {"bot": report.bot, "kind": report.kind, "id": report.id}
    return system_event(
        f"{report.bot}:conflict:{report.kind}:{report.id}",
        "component_error",
        now,
        "reports",
        "conflict",
        "A report has another content than the stored one of its id, which stays.",
        details,
    )


def _text(value: Decimal | None) -> str | None:
    return None if value is None else decimal_text(value)
