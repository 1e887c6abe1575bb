"""Continuity of update ids: the rules of Binance spot and USD-M futures. Pure.

| rule | spot | usdm |
| --- | --- | --- |
| a buffered diff is older than the snapshot | `u <= lastUpdateId` | `u < lastUpdateId` |
| the first diff after the snapshot | `U <= lastUpdateId + 1 <= u` | `U <= lastUpdateId <= u` |
| afterwards: seen | `u <= own` | `u <= own` |
| afterwards: next | `U <= own + 1 <= u` | `pu == own` |
| afterwards: gap | `U > own + 1` | otherwise |

Sources: binance-spot-api-docs PR #383; the documentation of USD-M futures. An overlapping diff of
spot is applied (node-binance-api #218).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jobs.books.messages import Diff


@dataclass(frozen=True, slots=True)
class Seen:
    """The diff is not newer than the book."""


@dataclass(frozen=True, slots=True)
class Next:
    """The diff continues the book."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Ids are missing between the book and the diff.

    Spot: the id after the book's, and `U`. USD-M: the book's id, and `pu`. The difference is the
    number of missing ids.
    """

    expected_id: int
    received_id: int

    @property
    def missing(self) -> int:
        """The number of missing ids; 0 if it is unknown."""
        return max(0, self.received_id - self.expected_id)


Place = Seen | Next | Gap
SEEN = Seen()
NEXT = Next()


def spot_place(own: int, diff: Diff) -> Place:
    """The place of a diff after a book at id `own`."""
    if diff.last_id <= own:
        return SEEN
    return NEXT if diff.first_id <= own + 1 else Gap(own + 1, diff.first_id)


def usdm_place(own: int, diff: Diff) -> Place:
    """The place of a diff after a book at id `own`; a diff without `pu` is a gap."""
    if diff.last_id <= own:
        return SEEN
    return NEXT if diff.previous_id == own else Gap(own, diff.first_id if diff.previous_id is None else diff.previous_id)


def spot_first_place(snapshot_id: int, diff: Diff) -> Place:
    """The place of a diff after a snapshot; a gap if the snapshot is too old."""
    return spot_place(snapshot_id, diff)


def usdm_first_place(snapshot_id: int, diff: Diff) -> Place:
    """The place of a diff after a snapshot; a gap if the snapshot is too old."""
    if diff.last_id < snapshot_id:
        return SEEN
    return NEXT if diff.first_id <= snapshot_id else Gap(snapshot_id, diff.first_id)


@dataclass(frozen=True, slots=True)
class Rule:
    """The rule of a market: `place` after another diff, `first_place` after a snapshot."""

    place: Callable[[int, Diff], Place]
    first_place: Callable[[int, Diff], Place]


RULES = {"spot": Rule(spot_place, spot_first_place), "usdm": Rule(usdm_place, usdm_first_place)}
