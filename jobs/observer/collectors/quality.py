"""Implementation shortfall and market impact of the orders that ended today."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from config.pacing import Outage, StopSignal
from db.figures.conversion import Rates, total
from db.figures.positions import ONE
from db.past_quotes import IMPACT_DELAY, MID_AGE, PastQuote, quotes_at
from db.postgres import StoreError
from db.reports.fills import FillRow, fills_of_orders
from db.reports.orders import OrderRow, find_orders
from jobs.observer.collectors.base import ObserverContext
from jobs.observer.figures.execution import implementation_shortfall_bps, market_impact_bps

log = logging.getLogger(__name__)

OrderKey = tuple[str, str]  # bot, order id
SETTLE_SECONDS = 8.0  # after the report: `IMPACT_DELAY`, and the delay of the store
CHUNK = 500  # orders of one read
MAX_ORDERS = 20_000  # whose figures may still change; older ones are in the sums for good


@dataclass(frozen=True, slots=True)
class OrderQuality:
    """The figures of one order, with their weights: the ordered and the filled quantity."""

    shortfall: float | None
    ordered: float
    impact: float | None
    filled: float


@dataclass(slots=True)
class _Average:
    """A weighted average."""

    value: float = 0.0
    weight: float = 0.0

    def add(self, value: float | None, weight: float) -> None:
        if value is not None:
            self.value += value * weight
            self.weight += weight

    @property
    def result(self) -> float | None:
        return self.value / self.weight + 0.0 if self.weight > 0 else None


class Quality:
    """The averages of the day. `run` reads each order some seconds after its end."""

    def __init__(self, context: ObserverContext) -> None:
        self._context = context
        self._lock = threading.Lock()  # of everything below
        self._waiting: deque[tuple[float, OrderKey]] = deque()  # monotonic time from which it is read, order
        self._orders: OrderedDict[OrderKey, OrderQuality] = OrderedDict()
        self._shortfall, self._impact = _Average(), _Average()

    def begin_day(self, ended: Iterable[OrderKey]) -> None:
        """Start again with the orders that have ended today."""
        with self._lock:
            self._waiting = deque((0.0, key) for key in ended)
            self._orders.clear()
            self._shortfall, self._impact = _Average(), _Average()

    def queue(self, keys: Iterable[OrderKey]) -> None:
        """Read these orders later; their figures have changed."""
        due = time.monotonic() + SETTLE_SECONDS
        with self._lock:
            self._waiting.extend((due, key) for key in keys)

    @property
    def averages(self) -> tuple[float | None, float | None]:
        """Shortfall and impact in basis points, weighted by quantity; None without an order."""
        with self._lock:
            return self._shortfall.result, self._impact.result

    def run(self, stop: StopSignal) -> None:
        """Read the orders that are due until `stop` is set."""
        outage = Outage(log, "the quality of executions waits for the store", monotonic=time.monotonic)
        while not stop.wait(1.0):
            keys = self._due()
            try:
                while keys and not stop.is_set():
                    self._read(keys)
                    keys = self._due()
                outage.recovered()
            except StoreError as error:
                outage.failed(error)
                self.queue(keys)

    def _due(self) -> list[OrderKey]:
        found: dict[OrderKey, None] = {}
        now = time.monotonic()
        with self._lock:
            while self._waiting and self._waiting[0][0] <= now and len(found) < CHUNK:
                found[self._waiting.popleft()[1]] = None
        return list(found)

    def _read(self, keys: Sequence[OrderKey]) -> None:
        names: dict[str, list[str]] = {}
        for bot, order_id in keys:
            names.setdefault(bot, []).append(order_id)
        fills: dict[OrderKey, list[FillRow]] = {}
        with self._context.store.transaction() as cursor:
            orders = find_orders(cursor, keys)
            for bot, order_ids in names.items():
                for row in fills_of_orders(cursor, bot, order_ids):
                    if not row.voided:
                        fills.setdefault((row.bot, row.order_id), []).append(row)
            times = {(order.symbol, moment) for key, order in orders.items() for moment in moments(order, fills.get(key, ()))}
            quotes = quotes_at(cursor, times, MID_AGE)
        rates = self._context.prices.rates(self._context.clock(), self._context.settings.obs_currency_parity)
        for key, order in orders.items():
            self._put(key, quality_of(order, fills.get(key, ()), quotes, rates))

    def _put(self, key: OrderKey, quality: OrderQuality) -> None:
        with self._lock:
            before = self._orders.pop(key, None)
            if before is not None:
                self._add(before, -1.0)
            self._add(quality, 1.0)
            self._orders[key] = quality
            if len(self._orders) > MAX_ORDERS:
                self._orders.popitem(last=False)

    def _add(self, quality: OrderQuality, sign: float) -> None:
        self._shortfall.add(quality.shortfall, sign * quality.ordered)
        self._impact.add(quality.impact, sign * quality.filled)


def moments(order: OrderRow, fills: Sequence[FillRow]) -> list[datetime]:
    """The times whose mids the figures of an order need."""
    found = [moment for moment in (order.submitted or order.acknowledged, order.finished) if moment is not None]
    return [*found, *([max(fill.time for fill in fills) + IMPACT_DELAY] if fills else [])]


def quality_of(order: OrderRow, fills: Sequence[FillRow], quotes: Mapping[tuple[str, datetime], PastQuote], rates: Rates) -> OrderQuality:
    """The figures of an ended order. `quotes` is (symbol, time) -> stored price."""

    def mid(moment: datetime | None) -> Decimal | None:
        quote = quotes.get((order.symbol, moment)) if moment else None
        return quote.mid if quote else None

    last = max((fill.time for fill in fills), default=None)
    at_order = mid(order.submitted or order.acknowledged)
    impact = market_impact_bps(order.side, mid(last + IMPACT_DELAY), at_order) if last else None
    filled = float(order.filled_quantity)
    if order.quantity is None:
        return OrderQuality(None, 0.0, impact, filled)
    currency = fills[0].currency if fills else ""
    fees = total(((fill.fee_currency or currency, fill.fee) for fill in fills), currency, rates)
    shortfall = None
    if fees.amount is not None and not fees.incomplete:
        shortfall = implementation_shortfall_bps(
            order.side,
            order.decision_price,
            order.quantity,
            [(fill.price, fill.quantity) for fill in fills],
            fees.amount,
            mid(order.finished),
            fills[0].multiplier if fills else ONE,
        )
    return OrderQuality(shortfall, float(order.quantity), impact, filled)
