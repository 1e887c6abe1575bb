"""Snapshots of the metrics: from the body of `metrics_update` to iterators of programs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from tickwire_client.messages import Body, Item, MetricsSnapshot, parse_time
from tickwire_client.stream import Stream

SECTIONS = ("market_data", "strategy", "execution", "system")
_AMOUNTS = frozenset({
    "last_price", "bid", "ask", "vwap", "twap", "volume", "total_volume", "pnl", "total_pnl", "daily_pnl", "realized_pnl",
    "unrealized_pnl", "position_notional", "max_drawdown", "fees",
})  # fmt: skip
_AMOUNTS_BY_CURRENCY = frozenset({"by_currency", "fees_by_currency"})
_TIMES = frozenset({"timestamp", "time", "last_report"})


class SnapshotStream(Stream[MetricsSnapshot]):
    """Iterator over snapshots with some sections. A slow program receives the newest one only."""

    def __init__(self, sections: Collection[str], max_rate: float | None) -> None:
        super().__init__(lambda item: isinstance(item, MetricsSnapshot), 1)
        self.sections, self.max_rate = frozenset(sections), max_rate
        self._last: tuple[str, int] | None = None  # (epoch, seq)

    def put(self, item: Item) -> None:
        """Take a snapshot in place of the waiting one. Other items are ignored."""
        if not isinstance(item, MetricsSnapshot):
            return
        with self._changed:
            position = item.epoch, item.seq
            if self._closed or self._last == position:
                return
            self._last = position
            self._items.clear()
        left_out: dict[str, Any] = {name: None for name in SECTIONS if name not in self.sections}
        super().put(replace(item, **left_out))


def snapshot(body: Body) -> MetricsSnapshot:
    """From a `metrics_update`."""
    sections = {name: _section(body[name]) for name in SECTIONS if name in body}
    return MetricsSnapshot(parse_time(body["timestamp"]), body["seq"], body["epoch"], **sections)


def _section(body: Body) -> Body:
    return {name: _value(name, value) for name, value in body.items()}


def _value(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        if name in _AMOUNTS_BY_CURRENCY:
            return {currency: None if amount is None else Decimal(amount) for currency, amount in value.items()}
        return _section(value)
    if isinstance(value, str):
        if name in _AMOUNTS:
            return Decimal(value)
        if name in _TIMES:
            return _time(value)
    return value


def _time(text: str) -> datetime | str:
    try:
        return parse_time(text)
    except ValueError:
        return text
