"""Executions: counts and ratios of the orders and fills since 00:00 of `OBS_DAY_ZONE`.

The collector keeps sums. A changed order or fill is subtracted with its former values and added
with the new ones, so that memory does not grow with the number of orders.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from config.pacing import StopSignal
from db.figures.positions import ZERO
from db.listing.quality import ended_orders, fill_sums, latencies, order_sums, skewed_orders
from db.metrics.execution import ExecutionRow, insert_execution
from db.postgres import Cursor
from db.reports.fills import FillRow
from db.reports.model import TERMINAL_STATUSES
from db.reports.orders import OrderRow
from jobs.observer.collectors.base import BaseCollector, ObserverContext, allow_long_reads
from jobs.observer.collectors.quality import MAX_ORDERS, Quality
from jobs.observer.collectors.strategy_store import MAX_STRATEGIES, Key
from jobs.observer.figures.execution import Latencies
from jobs.observer.figures.models import ExecutionMetric
from jobs.observer.figures.ratios import OrderCounts
from jobs.observer.figures.sections import Body, execution_section
from jobs.observer.fold.batch import Folded
from jobs.observer.fold.days import day_of, start_of

OTHERS: Key = ("", "")  # the sums of all strategies beyond `MAX_STRATEGIES`
_CANCELLED = ("cancelled", "expired")


@dataclass(slots=True)
class _Second:
    """Sums since the last stored second."""

    latency_ms: float = 0.0
    latencies: int = 0
    slippage: float = 0.0
    quantity: float = 0.0


@dataclass(slots=True)
class _Sums:
    """Sums of one strategy of one bot since 00:00."""

    counts: OrderCounts = field(default_factory=OrderCounts)
    open: int = 0
    fills: int = 0
    slippage: float = 0.0  # Σ slippage·quantity
    quantity: Decimal = ZERO  # of the fills with a slippage
    second: _Second = field(default_factory=_Second)
    changed: bool = True  # since the last stored second

    def add_order(self, row: OrderRow, start: datetime, sign: int) -> None:
        """Add an order, or subtract it with a negative sign."""
        self.changed = True
        terminal = row.status in TERMINAL_STATUSES
        if not terminal:
            self.open += 0 if row.implicit else sign
        if row.time < start and terminal:
            return  # it ended before today
        ordered = (row.quantity or ZERO) if terminal else ZERO
        self.counts += OrderCounts(
            sign * int((row.submitted or row.time) >= start),
            sign * int(row.status == "filled"),
            sign * int(row.status in _CANCELLED),
            sign * int(row.status == "rejected"),
            sign * ordered,
            sign * row.filled_quantity if terminal else ZERO,
        )

    def add_fill(self, row: FillRow, sign: int) -> None:
        """Add a fill of today, or subtract it with a negative sign."""
        self.changed = True
        self.fills += sign
        if row.slippage_bps is not None:
            self.slippage += sign * row.slippage_bps * float(row.quantity)
            self.quantity += sign * row.quantity


class ExecutionCollector(BaseCollector):
    """The section `execution`, once per second."""

    name = "execution"
    period = 1.0

    def __init__(self, context: ObserverContext) -> None:
        super().__init__(context)
        self._zone = context.settings.obs_day_zone
        self._lock = threading.Lock()  # of everything below
        self._sums: dict[Key, _Sums] = {}
        self._latencies = Latencies()
        self._day: date | None = None
        self._quality = Quality(context)
        # (count and sum of the latencies, their p50 p95 p99)
        self._percentiles: tuple[tuple[int, int], Sequence[float | None]] = ((0, 0), (None, None, None))

    def loops(self) -> Mapping[str, Callable[[StopSignal], None]]:
        """The reader of ended orders."""
        return {"observer-quality": self._quality.run}

    def start(self) -> None:
        """Read the sums of today."""
        super().start()
        self._begin_day()

    def folded(self, result: Folded) -> None:
        """Take over a committed batch. May raise `StoreError` without an effect."""
        if self._day is None or self._day != self._today():
            self._begin_day()  # the batch is stored already
            return
        with self._lock:
            start = start_of(self._day, self._zone)
            for before_order, order in result.order_changes:
                if before_order is not None:
                    self._of(before_order).add_order(before_order, start, -1)
                self._of(order).add_order(order, start, 1)
                self._count_skew(before_order, order, start)
            for before, after in result.fill_changes:
                self._change_fill(before, after, start)
            ended = [order for _, order in result.order_changes if order.status in TERMINAL_STATUSES and order.time >= start]
            self._quality.queue((order.bot, order.order_id) for order in ended)

    def _change_fill(self, before: FillRow | None, after: FillRow, start: datetime) -> None:
        if after.time < start:
            return
        sums = self._of(after)
        if before is not None and not before.voided:
            sums.add_fill(before, -1)
        if before is not None and before.latency_ms is not None and before.latency_ms != after.latency_ms:
            self._latencies.record(round(before.latency_ms * 1000), -1)
        if after.voided:
            return
        sums.add_fill(after, 1)
        if before is None and after.slippage_bps is not None:
            sums.second.slippage += after.slippage_bps * float(after.quantity)
            sums.second.quantity += float(after.quantity)
        if after.latency_ms is not None and (before is None or before.latency_ms != after.latency_ms):
            self._latencies.record(round(after.latency_ms * 1000))
            sums.second.latency_ms += after.latency_ms
            sums.second.latencies += 1

    def _count_skew(self, before: OrderRow | None, after: OrderRow, start: datetime) -> None:
        """Count an order whose first fill is before its submission: the bot's clock was wrong."""
        known = before is not None and _is_skewed(before, start)
        self._latencies.clock_skew += _is_skewed(after, start) - known

    def collect(self, now: datetime) -> Body:
        """The section at `now`."""
        with self._lock:
            counts = sum((each.counts for each in self._sums.values()), OrderCounts())
            quantity = sum((each.quantity for each in self._sums.values()), ZERO)
            slippage = sum(each.slippage for each in self._sums.values())
            state = self._latencies.count, self._latencies.total_us
            if self._percentiles[0] != state:
                self._percentiles = state, self._latencies.percentiles_ms(50, 95, 99)
            p50, p95, p99 = self._percentiles[1]
            shortfall, impact = self._quality.averages
            metric = ExecutionMetric(
                orders_today=counts.submitted,
                fills_today=sum(each.fills for each in self._sums.values()),
                cancelled=counts.cancelled,
                rejected=counts.rejected,
                fill_rate=counts.fill_rate,
                avg_latency_ms=self._latencies.average_ms,
                avg_slippage_bps=slippage / float(quantity) + 0.0 if quantity else None,
                open_orders=sum(each.open for each in self._sums.values()),
                latency_p50_ms=p50,
                latency_p95_ms=p95,
                latency_p99_ms=p99,
                implementation_shortfall_bps=shortfall,
                market_impact_bps=impact,
            )
        return execution_section(now, metric)

    def strategies_with_orders(self) -> set[Key]:
        """Strategies with an open order. Any thread may call it."""
        with self._lock:
            return {key for key, sums in self._sums.items() if sums.open > 0 and key != OTHERS}

    def get_statistics(self) -> Mapping[str, Any]:
        """Counters since the start; `clock_skew` counts today's orders filled before submission."""
        return {**super().get_statistics(), "clock_skew": self._latencies.clock_skew}

    def store_second(self, cursor: Cursor, second: datetime) -> None:
        """Insert a row for each strategy whose figures have changed; else one per minute."""
        with self._lock:
            shown = [(key, sums) for key, sums in self._sums.items() if key != OTHERS]
            rows = [_row(second, key, sums) for key, sums in shown if sums.changed or second.second == 0]
            for sums in self._sums.values():
                sums.second, sums.changed = _Second(), False
        insert_execution(cursor, rows)

    def _of(self, row: OrderRow | FillRow) -> _Sums:
        return _entry(self._sums, (row.bot, row.strategy))

    def _today(self) -> date:
        return day_of(self.context.clock(), self._zone)

    def _begin_day(self) -> None:
        """Read the sums since 00:00."""
        today = self._today()
        start = start_of(today, self._zone)
        sums: dict[Key, _Sums] = {}
        found = Latencies()
        with self.context.store.transaction() as cursor:
            allow_long_reads(cursor)
            for row in order_sums(cursor, start):
                counts = OrderCounts(row.submitted, row.filled, row.cancelled, row.rejected, row.ordered, row.filled_quantity)
                own = _entry(sums, (row.bot, row.strategy))
                own.counts += counts
                own.open += row.open
            for fills in fill_sums(cursor, start):
                own = _entry(sums, (fills.bot, fills.strategy))
                own.fills += fills.fills
                own.slippage += fills.slippage
                own.quantity += fills.quantity
            for milliseconds, count in latencies(cursor, start):
                found.record(round(milliseconds * 1000), count)
            found.clock_skew = skewed_orders(cursor, start)
            ended = ended_orders(cursor, start, MAX_ORDERS)
        with self._lock:
            self._sums, self._latencies, self._day = sums, found, today
        self._quality.begin_day(ended)


def _entry(sums: dict[Key, _Sums], key: Key) -> _Sums:
    """The sums of a strategy; those of `OTHERS` if there are too many."""
    known = key in sums or len(sums) < MAX_STRATEGIES
    return sums.setdefault(key if known else OTHERS, _Sums())


def _is_skewed(row: OrderRow, start: datetime) -> bool:
    return row.time >= start and row.submitted is not None and row.first_fill is not None and row.first_fill < row.submitted


def _row(second: datetime, key: Key, sums: _Sums) -> ExecutionRow:
    counts, own = sums.counts, sums.second
    return ExecutionRow(
        second, *key, counts.submitted, counts.filled, counts.cancelled, counts.rejected, own.latency_ms if own.latencies else None,
        own.latencies, own.slippage if own.quantity else None, own.quantity,
    )  # fmt: skip
