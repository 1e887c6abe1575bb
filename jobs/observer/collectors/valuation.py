"""The value of the positions of one strategy of one bot. Pure.

All sums are in the base currency; amounts without a rate are in `Total.by_currency`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from operator import is_
from typing import Literal

from db.figures.conversion import Rates, Total, total
from db.figures.positions import ZERO, Position, mark, notional, unrealised
from db.reports.checkpoints import CheckpointRow
from db.reports.positions import PositionRow
from jobs.observer.collectors.live_prices import LivePrices, Quote
from jobs.observer.figures.ratios import TripSums

Amount = tuple[str, Decimal]  # currency, amount


@dataclass(slots=True)
class StrategyState:
    """The state of one (bot, strategy)."""

    positions: dict[str, PositionRow] = field(default_factory=dict)  # symbol -> position
    checkpoints: dict[str, CheckpointRow] = field(default_factory=dict)  # symbol -> position at 00:00
    trips: dict[str, TripSums] = field(default_factory=dict)  # currency -> sums
    signals: dict[str, int] = field(default_factory=dict)  # outcome -> number today
    equities: Mapping[datetime, Decimal] = field(default_factory=dict)  # start of a day before today -> last one
    equity: tuple[datetime, Decimal] | None = None  # time and value of the last one
    today: datetime | None = None  # 00:00
    last_report: datetime | None = None
    _sums: _Sums | None = None
    flat: Valued | None = None  # the value for `_sums`, if no position is open
    last: _Last | None = None  # the last value, if a position is open

    def put(self, row: PositionRow) -> None:
        """Replace a position."""
        self.positions[row.symbol] = row
        self._sums = None

    def take_equity(self, time: datetime, value: Decimal) -> bool:
        """Take a reported equity; return False if a later one is known."""
        if self.equity is not None and time < self.equity[0]:
            return False
        self.equity = time, value
        return True

    def daily_equities(self) -> dict[datetime, Decimal]:
        """Start of a day -> its last equity, that of today so far too."""
        found = dict(self.equities)
        if self.equity is not None and self.today is not None and self.equity[0] >= self.today:
            found[self.today] = self.equity[1]
        return found

    def take_checkpoints(self, rows: Iterable[CheckpointRow]) -> None:
        """Replace the positions at 00:00."""
        self.checkpoints = {row.symbol: row for row in rows}
        self._sums = None

    def sums(self, currency: str, rates: Rates) -> _Sums:
        """The sums that no price changes, for these rates."""
        if self._sums is None or not (self._sums.rates is rates or self._sums.is_fixed):
            closed = list(realised(self.positions.values()))
            before = _at_midnight(self.checkpoints.values())
            start = None if before is None else total(before, currency, rates)
            fixed = all(name == currency for name, _ in (*closed, *(before or ())))
            fees = summed(row.fees for row in self.positions.values())
            self._sums = _Sums(rates, closed, total(closed, currency, rates), before, start, fees, fixed)
            self.flat = None
        return self._sums


@dataclass(frozen=True, slots=True)
class _Sums:
    """Sums of a state for given rates."""

    rates: Rates
    closed: list[Amount]
    realized: Total
    before: list[Amount] | None  # at 00:00; None: a mark is unknown
    start: Total | None  # the sum of `before`
    fees: Mapping[str, Decimal]
    is_fixed: bool  # every amount is in the base currency, so that no rate changes it


@dataclass(frozen=True, slots=True)
class _Last:
    """A value, and the objects from which it was made. New rates come each second."""

    rates: Rates
    sums: _Sums
    quotes: list[Quote | None]  # of the open positions
    value: Valued


@dataclass(frozen=True, slots=True)
class Valued:
    """The value of a state at one time."""

    realized: Total
    unrealized: Total
    daily: Total | None  # None: the marks of 00:00 are unknown
    notional: Total
    fees: Mapping[str, Decimal]
    open_positions: int
    stale: bool  # a mark is older than 60 s
    complete: bool  # every position has a mark, every amount a rate

    is_marked: bool

    @property
    def pnl_total(self) -> Total | None:
        """Realised + unrealised; None without a mark."""
        return added((self.realized, self.unrealized), self.realized.currency) if self.is_marked else None

    @property
    def pnl(self) -> Decimal | None:
        """The amount of `pnl_total`."""
        found = self.pnl_total
        return found.amount if found else None


def value(state: StrategyState, prices: LivePrices, rates: Rates, now: datetime, currency: str, method: Literal["touch", "mid"]) -> Valued:
    """Mark the open positions of a state to the last prices.

    It is the same object as before if no price, rate or position has changed.
    """
    sums = state.sums(currency, rates)
    if state.flat is not None:
        return state.flat
    quotes = [prices.get(row.symbol) for row in state.positions.values() if row.quantity]
    last = state.last
    if last is not None and last.rates is rates and last.sums is sums and all(map(is_, last.quotes, quotes)):
        return last.value
    open_amounts: list[Amount] = []
    notionals: list[Amount] = []
    stale, marked, count = False, True, 0
    for row in state.positions.values():
        if not row.quantity:
            continue
        count += 1
        quote = prices.get(row.symbol)
        price = mark(row.quantity, quote.bid, quote.ask, method) if quote else None
        position = Position(row.quantity, row.average)
        gain, size = unrealised(position, price, row.multiplier), notional(position, price, row.multiplier)
        if quote is None or gain is None or size is None:
            marked = False
            continue
        stale = stale or not quote.is_live(now)
        open_amounts.append((row.currency, gain))
        notionals.append((row.currency, size))
    open_total = total(open_amounts, currency, rates)
    daily = _daily(sums, open_amounts, open_total, currency) if marked else None
    complete = marked and not sums.realized.incomplete and not open_total.incomplete
    found = Valued(sums.realized, open_total, daily, total(notionals, currency, rates), sums.fees, count, stale, complete, marked)
    if not count:
        state.flat = found
    state.last = _Last(rates, sums, quotes, found)
    return found


def realised(rows: Iterable[PositionRow | CheckpointRow]) -> Iterator[Amount]:
    """Gross profits and fees as (currency, amount); fees are negative."""
    for row in rows:
        yield row.currency, row.gross
        for currency, fee in row.fees.items():
            yield currency, -fee


def summed(parts: Iterable[Mapping[str, Decimal]]) -> dict[str, Decimal]:
    """The sums of amounts per currency."""
    found: dict[str, Decimal] = {}
    for part in parts:
        for currency, amount in part.items():
            found[currency] = found.get(currency, ZERO) + amount
    return found


def _at_midnight(rows: Iterable[CheckpointRow]) -> list[Amount] | None:
    """The amounts of checkpoints at their marks; None if a mark is unknown."""
    rows = list(rows)
    found = list(realised(rows))
    for row in rows:
        gain = unrealised(Position(row.quantity, row.average), row.mark, row.multiplier)
        if gain is None:
            return None
        found.append((row.currency, gain))
    return found


def _daily(sums: _Sums, open_amounts: list[Amount], open_total: Total, currency: str) -> Total | None:
    """The change since 00:00; a position that began today has no checkpoint and counts whole."""
    if sums.before is None or sums.start is None:
        return None
    parts = sums.realized, open_total, sums.start
    if any(each.amount is None or each.incomplete for each in parts):
        # Amounts without a rate may cancel out.
        return total([*sums.closed, *open_amounts, *((name, -amount) for name, amount in sums.before)], currency, sums.rates)
    return Total(_amount(sums.realized) + _amount(open_total) - _amount(sums.start), currency, {})


def _amount(part: Total) -> Decimal:
    return part.amount or ZERO


def added(totals: Iterable[Total | None], currency: str) -> Total | None:
    """The sum of totals in one currency; None if one of them is None."""
    amount, known, parts = ZERO, True, list[Mapping[str, Decimal]]()
    for each in totals:
        if each is None:
            return None
        known = known and each.amount is not None
        amount += each.amount or ZERO
        parts.append(each.by_currency)
    return Total(amount if known else None, currency, summed(parts))
