"""Report of a backfill for the operator: left out records, refused files, conflicts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from db.admission import NotAdmitted, Refusals
from db.inserted import Conflict
from jobs.feeds.binance.messages import MARKET, OtherTrade
from jobs.feeds.files.formats.model import NoPriceYet, PartOfMinute

log = logging.getLogger(__name__)

PRINTED_CONFLICTS = 5  # of each part; the others are in the log


@dataclass(slots=True)
class _LeftOut:
    """Good records of a kind that is not stored: their number, and the first one."""

    number: int = 0
    first: str = ""

    def add(self, place: str, error: ValueError) -> None:
        self.first = self.first or f"{place}: {error}"
        self.number += 1


@dataclass(slots=True)
class _Part:
    """The report on one file, or on one part of a history."""

    bad: Refusals = field(default_factory=Refusals)
    forming: _LeftOut = field(default_factory=_LeftOut)  # candles that have not ended
    other: _LeftOut = field(default_factory=_LeftOut)  # trades of another kind
    no_price: _LeftOut = field(default_factory=_LeftOut)  # lines before bid and ask are known
    minutes: _LeftOut = field(default_factory=_LeftOut)  # minutes of which the file may have a part only
    conflicts: int = 0
    first_conflicts: list[Conflict] = field(default_factory=list)

    def sentences(self) -> list[str]:
        found = []
        if self.bad:
            found.append(str(self.bad))
        if number := self.forming.number:
            found.append(f"{number} {'candle has' if number == 1 else 'candles have'} not ended yet; first: {self.forming.first}")
        if number := self.other.number:
            found.append(
                f"{number} {'trade' if number == 1 else 'trades'} of another kind than {MARKET} left out; first: {self.other.first}"
            )
        if number := self.no_price.number:
            found.append(f"{number} {'line has' if number == 1 else 'lines have'} no price yet; first: {self.no_price.first}")
        if number := self.minutes.number:
            found.append(f"{number} {'minute' if number == 1 else 'minutes'} left out; first: {self.minutes.first}")
        if number := self.conflicts:
            first = "; ".join(map(str, self.first_conflicts))
            found.append(
                f"{number} {'conflict' if number == 1 else 'conflicts'} with rows that are stored already (first: {first}); "
                "--replace takes the file's"
            )
        return found


class Notes:
    """Faults and conflicts, collected while a backfill runs."""

    def __init__(self) -> None:
        self._parts: dict[str, _Part] = {}  # title -> report
        self._refused: dict[str, str] = {}  # title -> reason

    @property
    def failed(self) -> bool:
        """True if a part was refused, damaged or ended early, or if there were conflicts."""
        return bool(self._refused) or any(part.conflicts for part in self._parts.values())

    def bad(self, title: str) -> dict[str, int]:
        """kind -> number of the bad records of a part, the most frequent kind first."""
        return self._part(title).bad.counts

    def conflicts(self, title: str) -> int:
        """The number of conflicts of a part."""
        return self._part(title).conflicts

    def reason(self, title: str) -> str | None:
        """The reason why a part was given up; None if it was not."""
        return self._refused.get(title)

    def bad_record(self, title: str, place: str, error: ValueError) -> None:
        """Note a record that is left out."""
        part = self._part(title)
        if isinstance(error, OtherTrade):
            part.other.add(place, error)
        elif isinstance(error, NoPriceYet):
            part.no_price.add(place, error)
        elif isinstance(error, PartOfMinute):
            part.minutes.add(place, error)
        elif isinstance(error, NotAdmitted) and error.kind == "not_ended":
            part.forming.add(place, error)
        else:
            part.bad.add(place, error)

    def history(self, title: str, refused: Refusals) -> None:
        """Note the refusals of a history, which are counted while it is read."""
        self._part(title).bad = refused

    def refused(self, title: str, reason: str) -> None:
        """Note a part that was given up."""
        self._refused[title] = reason

    def conflicting(self, title: str, conflicts: Sequence[Conflict]) -> None:
        """Note records whose identity is stored with other values."""
        part = self._part(title)
        part.conflicts += len(conflicts)
        part.first_conflicts += conflicts[: PRINTED_CONFLICTS - len(part.first_conflicts)]
        for conflict in conflicts:
            log.warning(
                "record conflicts with a stored one",
                extra={"part": title, "record": conflict.record, "stored": conflict.stored, "given": conflict.given},
            )

    def sentences(self) -> list[str]:
        """All notes as sentences for the operator."""
        noted = [f"{title}: {sentence}" for title, part in self._parts.items() for sentence in part.sentences()]
        return noted + [f"{title}: {reason}" for title, reason in self._refused.items()]

    def _part(self, title: str) -> _Part:
        return self._parts.setdefault(title, _Part())
