"""Rows of positions and checkpoints as accounts, and back. Pure."""

from __future__ import annotations

from dataclasses import fields
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from db.figures.conversion import Rates, net_of_fees
from db.figures.positions import ONE, Position
from db.reports.checkpoints import CheckpointRow
from db.reports.fills import FillRow, PositionKey
from db.reports.positions import PositionRow
from db.reports.round_trips import RoundTripRow
from jobs.observer.figures.history import Account
from jobs.observer.figures.round_trips import LONG, SHORT, RoundTrip

DEFAULT_CURRENCY = "USD"


def account_of(row: PositionRow | CheckpointRow) -> Account:
    """The account of a stored position."""
    position = Position(row.quantity, row.average, row.gross, row.fees)
    if row.opened is None or row.opening_fill is None or row.trip_quantity is None or row.trip_gross is None:
        return Account(position, None, row.as_of_seq)
    side = LONG if row.quantity > 0 else SHORT
    trip = RoundTrip(row.opened, row.opening_fill, side, row.trip_quantity, row.trip_gross, row.trip_fees or {}, row.currency)
    return Account(position, trip, row.as_of_seq)


def position_row(key: PositionKey, account: Account, last_time: datetime | None, terms: tuple[str, Decimal]) -> PositionRow:
    """The row of an account; `terms` are currency and multiplier of its last fill."""
    return PositionRow(*key, **_values(account, terms), last_time=last_time)


def checkpoint_row(day: date, key: PositionKey, account: Account, mark: Decimal | None, terms: tuple[str, Decimal]) -> CheckpointRow:
    """The row of an account at the beginning of a day."""
    return CheckpointRow(day, *key, **_values(account, terms), mark=mark)


def checkpoint_of(day: date, row: PositionRow, mark: Decimal | None) -> CheckpointRow:
    """The checkpoint of a position that has not changed since the beginning of the day."""
    names = {each.name for each in fields(CheckpointRow)} - {"day", "mark"}
    return CheckpointRow(day=day, mark=mark, **{name: getattr(row, name) for name in names})


def terms_of(fill: FillRow | None, row: PositionRow | CheckpointRow | None = None) -> tuple[str, Decimal]:
    """Currency and multiplier of a fill, else of a row."""
    known = fill or row
    return (DEFAULT_CURRENCY, ONE) if known is None else (known.currency, known.multiplier)


def round_trip_row(key: PositionKey, trip: RoundTrip, rates: Rates) -> RoundTripRow:
    """The row of a closed trip. Fees that cannot be converted are left out of `fees` and `net`."""
    if trip.closed is None:
        raise ValueError("the round trip is open")
    net = net_of_fees(trip.gross, trip.currency, trip.fees, rates).amount or Decimal(0)
    return RoundTripRow(
        *key, trip.opened, trip.opening_fill, trip.closed, trip.side, trip.quantity, trip.gross, trip.gross - net, net, trip.currency
    )


def _values(account: Account, terms: tuple[str, Decimal]) -> dict[str, Any]:
    position, trip, seq = account
    return {
        **position._asdict(),
        "as_of_seq": seq,
        "currency": terms[0],
        "multiplier": terms[1],
        "opened": trip.opened if trip else None,
        "opening_fill": trip.opening_fill if trip else None,
        "trip_quantity": trip.quantity if trip else None,
        "trip_gross": trip.gross if trip else None,
        "trip_fees": trip.fees if trip else None,
    }
