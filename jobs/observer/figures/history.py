"""Recomputation of a position from a checkpoint: late fills and corrections in order. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, Literal, NamedTuple, TypeVar, cast

from db.figures.positions import FLAT, Applied, FillTerms, Position, apply_fill, in_order
from jobs.observer.figures.round_trips import RoundTrip, advance

F = TypeVar("F", bound=FillTerms)


class Account(NamedTuple):
    """A position and its open round trip, None if the position is flat.

    `seq` is the greatest sequence number among the fills so far (`as_of_seq`).
    """

    position: Position = FLAT
    trip: RoundTrip | None = None
    seq: int = 0


class Step(NamedTuple, Generic[F]):
    """One fill, its effect, and the round trip that it closed, or None."""

    fill: F
    applied: Applied
    closed_trip: RoundTrip | None


@dataclass(frozen=True, slots=True)
class Replay(Generic[F]):
    """Result of a replay: the account at the end, one step per fill, the account at each cut."""

    account: Account
    steps: Sequence[Step[F]]
    at: Mapping[datetime, Account]  # cut -> account before the first fill at or after it

    @property
    def round_trips(self) -> list[RoundTrip]:
        """The trips that the fills closed, in order; then the open one, if there is one."""
        closed = [step.closed_trip for step in self.steps if step.closed_trip is not None]
        return closed if self.account.trip is None else [*closed, self.account.trip]


@dataclass(frozen=True, slots=True)
class FillCorrection:
    """A correction of a fill: `cancel` voids it; `replace` gives the values that are not None."""

    fill_id: str
    time: datetime
    seq: int
    action: Literal["cancel", "replace"]
    quantity: Decimal | None = None
    price: Decimal | None = None
    fee: Decimal | None = None


def advance_account(account: Account, fill: F) -> tuple[Account, Step[F]]:
    """Apply a fill that is later, in (time, seq), than all fills of the account."""
    applied = apply_fill(account.position, fill)
    trip, closed = advance(account.trip, fill, applied)
    return Account(applied.position, trip, max(account.seq, fill.seq)), Step(fill, applied, closed)


def replay(start: Account, fills: Iterable[F], cuts: Iterable[datetime] = ()) -> Replay[F]:
    """Apply fills of one position in the order (time, seq), whatever their order here.

    `start` is the checkpoint before the first of the fills. If its position is open, its trip is
    required (`ValueError`): start from `Account()` or from a flat checkpoint if it is unknown, or
    from `round_trips.assumed_trip` if the fills since then are deleted.
    Voided fills are left out by the caller (`corrected`). `cuts` are the moments of later
    checkpoints, for example each 00:00.
    """
    if start.position.quantity and start.trip is None:
        raise ValueError("the checkpoint has an open position without its round trip")
    account = start
    steps: list[Step[F]] = []
    at: dict[datetime, Account] = {}
    waiting = sorted(set(cuts), reverse=True)
    for fill in in_order(fills):
        while waiting and waiting[-1] <= fill.time:
            at[waiting.pop()] = account
        account, step = advance_account(account, fill)
        steps.append(step)
    at.update((cut, account) for cut in reversed(waiting))
    return Replay(account, steps, at)


def corrected(fills: Iterable[F], corrections: Iterable[FillCorrection]) -> tuple[list[F], set[str]]:
    """Return (the fills that count, with their new values; the ids of the voided fills).

    Corrections of one fill count in the order (time, seq), so their order of arrival is free. A
    cancel is final: a replacement after it has no effect. A correction of an unknown fill is
    ignored; give it again with the fill. `fills` are frozen dataclasses.
    """
    by_fill: dict[str, list[FillCorrection]] = {}  # fill id -> corrections
    for correction in corrections:
        by_fill.setdefault(correction.fill_id, []).append(correction)
    counted: list[F] = []
    voided: set[str] = set()
    for fill in fills:
        own = sorted(by_fill.get(fill.fill_id, ()), key=_order)
        if any(each.action == "cancel" for each in own):
            voided.add(fill.fill_id)
        else:
            counted.append(_replaced(fill, own))
    return counted, voided


def _replaced(fill: F, corrections: Sequence[FillCorrection]) -> F:
    values: dict[str, Decimal] = {}
    for each in corrections:
        given = {"quantity": each.quantity, "price": each.price, "fee": each.fee}
        values |= {name: value for name, value in given.items() if value is not None}
    return cast(F, replace(cast(Any, fill), **values)) if values else fill


def _order(item: FillTerms | FillCorrection) -> tuple[datetime, int]:
    return item.time, item.seq
