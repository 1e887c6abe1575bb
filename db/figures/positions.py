"""Positions at average cost: quantity, average price, realised gross, fees, marks. Pure.

Source of the rules: docs/observability/figures.md. Money has 28 digits; no function here rounds
further.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol, TypeVar

ZERO = Decimal(0)
ONE = Decimal(1)
BUY, SELL = "buy", "sell"
NO_FEES: Mapping[str, Decimal] = MappingProxyType({})  # currency -> amount


class FillTerms(Protocol):
    """The parts of a fill that positions need; `db.reports.fills.FillRow` has them.

    `quantity` and `price` are greater than 0. `side` is "buy" or "sell". `fee` is positive if it
    is paid and negative if it is a rebate; `fee_currency` None is `currency`. `seq` is the order of
    arrival.
    """

    @property
    def fill_id(self) -> str: ...
    @property
    def time(self) -> datetime: ...
    @property
    def seq(self) -> int: ...
    @property
    def side(self) -> str: ...
    @property
    def quantity(self) -> Decimal: ...
    @property
    def price(self) -> Decimal: ...
    @property
    def fee(self) -> Decimal: ...
    @property
    def fee_currency(self) -> str | None: ...
    @property
    def currency(self) -> str: ...
    @property
    def multiplier(self) -> Decimal: ...


F = TypeVar("F", bound=FillTerms)


@dataclass(frozen=True, slots=True)
class PositionFill:
    """A fill without the fields that positions do not need; satisfies `FillTerms`."""

    fill_id: str
    time: datetime
    seq: int
    side: str
    quantity: Decimal
    price: Decimal
    fee: Decimal = ZERO
    fee_currency: str | None = None
    currency: str = "USD"
    multiplier: Decimal = ONE


class Position(NamedTuple):
    """State of one (bot, strategy, symbol).

    `quantity` is signed: positive is long. `average` is the average cost, 0 if flat. `gross` is the
    realised profit before fees, in the currency of the instrument. `fees` are all fees so far,
    currency -> amount, also those of the open quantity.
    """

    quantity: Decimal = ZERO
    average: Decimal = ZERO
    gross: Decimal = ZERO
    fees: Mapping[str, Decimal] = NO_FEES


FLAT = Position()


class Applied(NamedTuple):
    """Effect of one fill.

    `closed` is the quantity that the fill closed, at least 0. `gross` is the profit that it
    realised, None if it closed nothing. `closing_fee` is the share of the fee for the closed
    quantity, in the fee's currency; the rest of the fee belongs to the opened quantity.
    """

    position: Position
    closed: Decimal
    gross: Decimal | None
    closing_fee: Decimal


def apply_fill(position: Position, fill: FillTerms) -> Applied:
    """Apply one fill at average cost.

    Same side: average = (average·|quantity| + price·n) / (|quantity| + n). Other side: the fill
    closes c = min(n, |quantity|) and realises (price - average)·c·sign(quantity)·multiplier; the
    rest opens a position at the fill's price. A fill that does both splits its fee in proportion to
    quantity (nautechsystems/nautilus_trader #963 and #1083).
    """
    quantity, average, gross, fees = position
    filled, price, fee = fill.quantity, fill.price, fill.fee
    if fee:
        currency = fill.fee_currency or fill.currency
        fees = {**fees, currency: fees.get(currency, ZERO) + fee}
    signed = filled if fill.side == BUY else -filled
    if not quantity:
        return Applied(Position(signed, price, gross, fees), ZERO, None, ZERO)
    total = quantity + signed
    if (quantity > 0) is (signed > 0):
        average = (average * abs(quantity) + price * filled) / abs(total)
        return Applied(Position(total, average, gross, fees), ZERO, None, ZERO)
    closed = min(filled, abs(quantity))
    profit = (price - average) * (closed if quantity > 0 else -closed) * fill.multiplier
    if closed == filled:
        return Applied(Position(total, average if total else ZERO, gross + profit, fees), closed, profit, fee)
    return Applied(Position(total, price, gross + profit, fees), closed, profit, fee * closed / filled)


def mark(quantity: Decimal, bid: Decimal | None, ask: Decimal | None, method: Literal["touch", "mid"] = "touch") -> Decimal | None:
    """The price at which the position is valued: bid if long, ask if short, or the mid.

    `method` is `OBS_MARK`. None if the position is flat or a needed price is missing.
    """
    if not quantity:
        return None
    if method == "mid":
        return None if bid is None or ask is None else (bid + ask) / 2
    return bid if quantity > 0 else ask


def unrealised(position: Position, price: Decimal | None, multiplier: Decimal = ONE) -> Decimal | None:
    """(mark - average)·quantity·multiplier; 0 if flat, None without a mark."""
    if not position.quantity:
        return ZERO
    return None if price is None else (price - position.average) * position.quantity * multiplier


def notional(position: Position, price: Decimal | None, multiplier: Decimal = ONE) -> Decimal | None:
    """|quantity|·mark·multiplier in the instrument's currency; 0 if flat, None without a mark."""
    if not position.quantity:
        return ZERO
    return None if price is None else abs(position.quantity) * price * multiplier


def daily_pnl(total: Decimal | None, baseline: Decimal | None = ZERO) -> Decimal | None:
    """The total now less the total at 00:00 of `OBS_DAY_ZONE`; the baseline is 0 if it began today.

    None if one of them is unknown.
    """
    return None if total is None or baseline is None else total - baseline


def in_order(fills: Iterable[F]) -> list[F]:
    """The fills by (time, seq). Of fills with one id, the one with the lowest seq stays."""
    first: dict[str, F] = {}  # fill id -> fill
    for fill in fills:
        known = first.setdefault(fill.fill_id, fill)
        if fill.seq < known.seq:
            first[fill.fill_id] = fill
    return sorted(first.values(), key=lambda fill: (fill.time, fill.seq))
