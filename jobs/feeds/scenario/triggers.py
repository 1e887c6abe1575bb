"""The time and the messages at which a fault acts. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from db.scenarios.model import Fault


class Trigger:
    """Decides about each message, request or statement in turn.

    With `at`: those from that time on, for `seconds`, and at most `count`; one if neither is set.
    With `every`: each so many, for the first `seconds` of the run, and at most `count`.
    `has_age`: `seconds` is no limit, because it is the age of a snapshot.
    """

    def __init__(self, fault: Fault, *, has_age: bool = False) -> None:
        self._at = fault.at
        self._every = fault.every or 1
        self._seconds = None if has_age else fault.seconds
        self._count = fault.count
        if fault.at is not None and self._seconds is None and fault.count is None:
            self._count = 1
        self._seen = self._used = 0

    def hits(self, now: float) -> bool:
        """True if the fault acts on the item at `now`, which is counted."""
        if self._count is not None and self._used >= self._count:
            return False
        if self._at is None:
            self._seen += 1
            if self._seen % self._every:
                return False
        elif now < self._at:
            return False
        if self._seconds is not None and now >= (self._at or 0.0) + self._seconds:
            return False
        self._used += 1
        return True

    def pass_over(self) -> None:
        """Count an item on which the fault must not act."""
        self._seen += 1

    def end(self, now: float) -> float:
        """The end of a fault that acts at `now`: of its `seconds` after `at`, else `now`."""
        return now if self._at is None or self._seconds is None else self._at + self._seconds


class SpanTrigger:
    """Decides about spans of `seconds`: one from `at` on, or one after each so many messages."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._seconds = fault.seconds or 0.0
        self._until: float | None = None
        self._seen = self._begun = 0

    def count_message(self, now: float) -> None:
        """Count a message; it may begin a span."""
        every, count = self._fault.every, self._fault.count
        if every is None or (count is not None and self._begun >= count):
            return
        self._seen += 1
        if self._seen % every == 0 and not self.within(now):
            self._begun += 1
            self._until = now + self._seconds

    def within(self, now: float) -> bool:
        """True inside a span: from its begin, included, to its end, excluded."""
        if (at := self._fault.at) is not None:
            return at <= now < at + self._seconds
        return self._until is not None and now < self._until

    def end(self) -> float:
        """The end of the span that began last."""
        return self._fault.at + self._seconds if self._fault.at is not None else self._until or 0.0


@dataclass(slots=True)
class Effects:
    """The faults that have acted so far.

    Times are seconds of the player's clock; None: no fault.
    """

    counts: dict[str, int]  # kind -> number of times
    first: float | None = None
    last_end: float | None = None

    def note(self, kind: str, begin: float, end: float) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.first = begin if self.first is None else min(self.first, begin)
        self.last_end = end if self.last_end is None else max(self.last_end, end)
