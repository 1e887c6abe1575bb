"""The statement of a position: one row per fill, at average cost or first in, first out. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, NamedTuple

from db.figures.positions import BUY, FLAT, ZERO, FillTerms, Position, apply_fill, in_order

Method = Literal["average", "fifo"]


class Lot(NamedTuple):
    """An open quantity at one price; positive is long. All lots of a position have one sign."""

    quantity: Decimal
    price: Decimal


@dataclass(frozen=True, slots=True)
class StatementRow:
    """A row of `GET /positions/statement`: the fill and the position after it.

    `average_price` is None if flat; with "fifo" it is the average of the open lots. The realised
    amounts are sums since the start, as in the table of the worked example. `realized_pnl` is None
    if a fee is in another currency than the fill: use `conversion.net_of_fees` with `fees`.
    """

    time: datetime
    fill_id: str
    side: str
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_currency: str
    position: Decimal
    average_price: Decimal | None
    realized_gross: Decimal
    realized_pnl: Decimal | None
    fees: Mapping[str, Decimal]  # since the start; not a column


class Lots:
    """A position at first in, first out: its open lots, oldest first, realised gross and fees.

    `start` is the position before the first fill; if it is open, it is one lot at its average.
    """

    def __init__(self, start: Position = FLAT) -> None:
        self._lots = deque([Lot(start.quantity, start.average)] if start.quantity else [])
        self._quantity = start.quantity
        self._cost = start.quantity * start.average  # sum of quantity·price of the lots
        self._gross = start.gross
        self._fees = start.fees

    def apply(self, fill: FillTerms) -> Position:
        """Close the oldest lots first; the rest of the fill is a new lot at its price.

        A lot realises (price - its price)·quantity·multiplier, with the sign of the lot. The result
        has the average of the open lots.
        """
        left = fill.quantity if fill.side == BUY else -fill.quantity
        while left and self._lots and (self._lots[0].quantity > 0) is not (left > 0):
            left += self._close_first(-left, fill)
        if left:
            self._lots.append(Lot(left, fill.price))
            self._change(left, fill.price)
        if fill.fee:
            currency = fill.fee_currency or fill.currency
            self._fees = {**self._fees, currency: self._fees.get(currency, ZERO) + fill.fee}
        average = self._cost / self._quantity if self._quantity else ZERO
        return Position(self._quantity, average, self._gross, self._fees)

    def _close_first(self, most: Decimal, fill: FillTerms) -> Decimal:
        """Close up to `most` of the oldest lot and return the closed quantity.

        `most` and the result have the sign of the lot.
        """
        lot = self._lots.popleft()
        closed = min(lot.quantity, most, key=abs)
        if closed != lot.quantity:
            self._lots.appendleft(Lot(lot.quantity - closed, lot.price))
        self._gross += (fill.price - lot.price) * closed * fill.multiplier
        self._change(-closed, lot.price)
        return closed

    def _change(self, quantity: Decimal, price: Decimal) -> None:
        self._quantity += quantity
        self._cost = self._cost + quantity * price if self._lots else ZERO


def statement(fills: Iterable[FillTerms], method: Method = "average", start: Position = FLAT) -> list[StatementRow]:
    """One row per fill of one position, in the order (time, seq).

    `start` is the position before the first fill. With "fifo", an open `start` is one lot at its
    average: give all fills since the position was flat to have the true lots.
    """
    position, lots, rows = start, Lots(start), []
    for fill in in_order(fills):
        position = lots.apply(fill) if method == "fifo" else apply_fill(position, fill).position
        rows.append(_row(fill, position))
    return rows


def _row(fill: FillTerms, position: Position) -> StatementRow:
    foreign = any(amount for currency, amount in position.fees.items() if currency != fill.currency)
    net = None if foreign else position.gross - position.fees.get(fill.currency, ZERO)
    average = position.average if position.quantity else None
    return StatementRow(
        fill.time, fill.fill_id, fill.side, fill.quantity, fill.price, fill.fee, fill.fee_currency or fill.currency,
        position.quantity, average, position.gross, net, position.fees,
    )  # fmt: skip
