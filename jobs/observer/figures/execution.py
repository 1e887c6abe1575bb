"""Quality of executions: slippage, implementation shortfall, market impact, latency. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from math import ceil

from hdrh.histogram import HdrHistogram

from db.figures.positions import BUY, ONE, ZERO

BASIS_POINTS = 10_000
MAX_LATENCY_US = 3_600_000_000  # 1 h; a longer latency counts as 1 h
SIGNIFICANT_DIGITS = 3


def slippage_bps(side: str, average_fill: Decimal, arrival: Decimal | None) -> float | None:
    """side·(average fill - arrival) / arrival·10⁴; buy +1, sell -1; positive is a cost.

    `arrival` is the reported arrival price, else the mid stored at the order's time; None without
    one.
    """
    return _signed_bps(side, average_fill, arrival)


def market_impact_bps(side: str, mid_after: Decimal | None, mid_at_order: Decimal | None) -> float | None:
    """side·(mid 5 s after the last fill - mid at the order's time) / the latter·10⁴; None without.

    `db.past_quotes.IMPACT_DELAY` is the 5 s.
    """
    return None if mid_after is None else _signed_bps(side, mid_after, mid_at_order)


def _signed_bps(side: str, price: Decimal, reference: Decimal | None) -> float | None:
    if reference is None or reference <= 0:
        return None
    return float(_sign(side) * (price - reference) / reference * BASIS_POINTS) + 0.0


def _sign(side: str) -> int:
    return 1 if side == BUY else -1


def average_price(fills: Iterable[tuple[Decimal, Decimal]]) -> Decimal | None:
    """Σ price·quantity / Σ quantity of (price, quantity); None without a fill."""
    value = total = ZERO
    for price, quantity in fills:
        value += price * quantity
        total += quantity
    return value / total if total else None


def weighted_average(values: Iterable[tuple[float | None, Decimal]]) -> float | None:
    """Average of (value, quantity) weighted by quantity; None values are left out."""
    known = [(Decimal(value), quantity) for value, quantity in values if value is not None]
    average = average_price(known)
    return None if average is None else float(average) + 0.0


def implementation_shortfall_bps(
    side: str,
    decision: Decimal | None,
    ordered: Decimal,
    fills: Iterable[tuple[Decimal, Decimal]],
    fees: Decimal = ZERO,
    price_at_end: Decimal | None = None,
    multiplier: Decimal = ONE,
) -> float | None:
    """(fees + Σ side·(fill - decision)·quantity + side·(price at the end - decision)·unfilled)
    / (decision·ordered)·10⁴.

    `fills` are (price, quantity). `fees` are in the currency of the prices. Both prices' amounts
    are times the multiplier. None without a decision price, or if a part is unfilled and the price
    at the order's end is unknown.

    A. F. Perold, "The Implementation Shortfall: Paper Versus Reality", Journal of Portfolio
    Management 14 (1988), 4-9.
    """
    if decision is None or decision <= 0 or ordered <= 0:
        return None
    cost, unfilled = ZERO, ordered
    for price, quantity in fills:
        cost += (price - decision) * quantity
        unfilled -= quantity
    if unfilled > 0:
        if price_at_end is None:
            return None
        cost += (price_at_end - decision) * unfilled
    paper = decision * ordered * multiplier
    return float((fees + _sign(side) * cost * multiplier) / paper * BASIS_POINTS) + 0.0


def latency_us(submitted: datetime, first_fill: datetime) -> int:
    """First fill less submitted (`new`), by the bot's clock, in microseconds; may be negative."""
    return (first_fill - submitted) // timedelta(microseconds=1)


@dataclass(slots=True)
class Latencies:
    """Latencies of one period, for example one minute; periods can be merged.

    Percentiles come from an HDR histogram of 3 significant digits, so they are within 0.1 %. Its
    unit is 1 µs and its maximum 1 h. `clock_skew` counts the negative latencies, which are dropped.
    `total_us` is the exact sum of those that count.
    """

    clock_skew: int = 0
    total_us: int = 0
    _histogram: HdrHistogram = field(default_factory=lambda: HdrHistogram(1, MAX_LATENCY_US, SIGNIFICANT_DIGITS), repr=False)

    def record(self, microseconds: int, count: int = 1) -> bool:
        """Count a latency `count` times; return False if it is negative.

        A `count` of -1 takes a latency back that was counted before.
        """
        if microseconds < 0:
            self.clock_skew += count
            return False
        self._histogram.record_value(min(microseconds, MAX_LATENCY_US), count)
        self.total_us += count * microseconds
        return True

    def merge(self, other: Latencies) -> None:
        """Add the latencies of another period."""
        self._histogram.add(other._histogram)
        self.clock_skew += other.clock_skew
        self.total_us += other.total_us

    @property
    def count(self) -> int:
        """Latencies that count, without clock skew."""
        return int(self._histogram.get_total_count())

    @property
    def average_ms(self) -> float | None:
        """Mean in milliseconds, None without a latency."""
        return self.total_us / self.count / 1000 if self.count else None

    def percentiles_ms(self, *percentiles: float) -> tuple[float | None, ...]:
        """For each percentile, above 0: the smallest latency that this percentage does not exceed.

        In milliseconds; None without a latency. One pass over the histogram, about 1 ms.
        """
        count = self.count
        if not count:
            return (None,) * len(percentiles)
        # The library rounds the rank; the percentage of a whole rank gives exactly that rank.
        exact = [100 * ceil(percentile * count / 100) / count for percentile in percentiles]
        values = self._histogram.get_percentile_to_value_dict(exact)
        return tuple(values[each] / 1000 for each in exact)

    def encode(self) -> bytes:
        """The histogram, compressed: some hundred bytes. Keep ended periods in this form."""
        return bytes(self._histogram.encode())

    @classmethod
    def decode(cls, encoded: bytes, *, clock_skew: int = 0, total_us: int = 0) -> Latencies:
        """The reverse of `encode`; the two sums are not part of the histogram."""
        return cls(clock_skew, total_us, HdrHistogram.decode(encoded))
