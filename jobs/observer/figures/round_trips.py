"""Round trips: from flat to flat, net of fees. A flip ends one and begins one. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from db.figures.positions import BUY, ONE, ZERO, Applied, FillTerms, Position

LONG, SHORT = "long", "short"


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """One round trip of a position; `closed` is None while it is open.

    `side` is "long" or "short". `quantity` is the largest one between flat and flat.
    `gross` is the cash flow of its fills without fees: exact, and the realised profit once the trip
    is closed. `fees` is currency -> amount; of a flip each trip has its share. `currency` is that
    of `gross`.
    """

    opened: datetime
    opening_fill: str
    side: str
    quantity: Decimal
    gross: Decimal
    fees: Mapping[str, Decimal]
    currency: str
    closed: datetime | None = None

    def net(self) -> Decimal | None:
        """Gross less fees; None if a fee is not in `currency` (use `conversion.net_of_fees`)."""
        if any(amount for currency, amount in self.fees.items() if currency != self.currency):
            return None
        return self.gross - self.fees.get(self.currency, ZERO)


def advance(trip: RoundTrip | None, fill: FillTerms, applied: Applied) -> tuple[RoundTrip | None, RoundTrip | None]:
    """Return (the open trip after the fill, the trip that the fill closed); each may be None.

    `trip` is the open trip before the fill, None if the position was flat. `applied` is the effect
    of the fill on the position. The profit of a closed trip is its cash flow, which has no
    division: a trip that ends at cost is exactly 0.
    """
    ended = None
    opened = fill.quantity - applied.closed
    if trip is not None and applied.closed:
        trip = _with(trip, fill, applied.closed, applied.closing_fee, ZERO)
        if opened or not applied.position.quantity:
            ended, trip = _close(trip, fill.time), None
    if opened:
        size = abs(applied.position.quantity)
        trip = _with(trip or _open(fill), fill, opened, fill.fee - applied.closing_fee, size)
    return trip, ended


def assumed_trip(position: Position, time: datetime, currency: str, multiplier: Decimal = ONE) -> RoundTrip:
    """The round trip of an open position whose fills are unknown: opened at `time` at its average.

    It has no opening fill and no fees.
    """
    side = LONG if position.quantity > 0 else SHORT
    cost = position.average * position.quantity * multiplier
    return RoundTrip(time, "", side, abs(position.quantity), -cost, {}, currency)


def _open(fill: FillTerms) -> RoundTrip:
    return RoundTrip(fill.time, fill.fill_id, LONG if fill.side == BUY else SHORT, ZERO, ZERO, {}, fill.currency)


def _close(trip: RoundTrip, time: datetime) -> RoundTrip:
    return RoundTrip(trip.opened, trip.opening_fill, trip.side, trip.quantity, trip.gross, trip.fees, trip.currency, time)


def _with(trip: RoundTrip, fill: FillTerms, quantity: Decimal, fee: Decimal, size: Decimal) -> RoundTrip:
    """Add `quantity` of the fill with its share of the fee; `size` is the position after it."""
    cash = quantity * fill.price * fill.multiplier
    gross = trip.gross - cash if fill.side == BUY else trip.gross + cash
    fees = trip.fees
    if fee:
        currency = fill.fee_currency or fill.currency
        fees = {**fees, currency: fees.get(currency, ZERO) + fee}
    return RoundTrip(trip.opened, trip.opening_fill, trip.side, max(trip.quantity, size), gross, fees, trip.currency)
