"""The notifications of `/ws/metrics`, made of messages of `observability_events`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from api.hub.plain.metrics.frames import ALERTS, TRADES
from db.topics import SYSTEM_ALERT

# Fields of a trade in contract order.
_TRADE = (
    "trade_id", "symbol", "side", "quantity", "price", "timestamp", "latency_ms", "slippage_bps", "pnl", "strategy", "order_id", "bot",
    "fee", "fee_currency", "currency", "liquidity", "time_received",
)  # fmt: skip
_AMOUNTS = frozenset({"quantity", "price", "pnl", "fee"})  # decimal strings that become number literals
_is_number = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?", re.ASCII).fullmatch


def notification_of(event: Mapping[str, Any]) -> tuple[str, bytes] | None:
    """Return the topic and the JSON text of an event; None if it is neither alert nor trade.

    The details of a `system_alert` are the whole alert.
    """
    kind, details = event.get("event_type"), event.get("details")
    if kind == SYSTEM_ALERT and isinstance(details, dict):
        return ALERTS, orjson.dumps(details)
    return (TRADES, orjson.dumps(_trade(event))) if kind == "trade_executed" else None


def _trade(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return a trade with exact number literals. A field that the event lacks is null.

    `metadata` may have the whole trade, with the time of the fill and amounts as decimal strings:
    `timestamp` of an event is the time of its publication.
    """
    metadata = event.get("metadata")
    whole = metadata.get("trade") if isinstance(metadata, dict) else None
    fields: Mapping[str, Any] = {**event, **whole} if isinstance(whole, dict) else event
    trade = {name: fields.get(name) for name in _TRADE}
    if trade["bot"] is None and isinstance(name := trade["trade_id"], str):
        trade["bot"] = name.partition(":")[0]
    return {name: _literal(value) if name in _AMOUNTS else value for name, value in trade.items()}


def _literal(value: Any) -> Any:
    """Return the number literal of a decimal string; null for another text."""
    if not isinstance(value, str):
        return value
    return orjson.Fragment(value) if _is_number(value) else None
