"""Diffs that wait for a snapshot, and the book that both give. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum

from jobs.books.book import Book
from jobs.books.messages import Diff, Snapshot
from jobs.books.sequence import NEXT, SEEN, Rule

RECENT_DIFFS = 16  # kept without a request, for snapshots that nobody requested


@dataclass(frozen=True, slots=True)
class Chain:
    """A snapshot with the diffs after it; `event_ms` is None without a diff."""

    book: Book
    update_id: int
    event_ms: int | None


class NotJoined(Enum):
    """Snapshot and diffs give no book yet."""

    NEEDS_DIFF = 1  # the snapshot is newer than all diffs
    NEEDS_SNAPSHOT = 2  # diffs after the snapshot are missing


class DiffBuffer:
    """Diffs in order of arrival, at most `limit`."""

    def __init__(self, rule: Rule, limit: int) -> None:
        self._rule = rule
        self._limit = limit
        self._diffs: deque[Diff] = deque()

    def __len__(self) -> int:
        return len(self._diffs)

    def add(self, diff: Diff, *, keeps_all: bool) -> bool:
        """Append a diff; return False if the buffer is full.

        Without `keeps_all`, the newest 16 diffs remain.
        """
        self._diffs.append(diff)
        if keeps_all:
            return len(self._diffs) <= self._limit
        while len(self._diffs) > RECENT_DIFFS:
            self._diffs.popleft()
        return True

    def clear(self) -> None:
        """Free all diffs."""
        self._diffs.clear()

    def join(self, snapshot: Snapshot, own: int | None) -> Chain | NotJoined:
        """The book after the snapshot and all diffs that follow it.

        `own` is the id of the book that the diffs have led to, None without such a book. Diffs
        older than the snapshot are dropped; if one is missing, all before the hole are.
        """
        diffs, rule = self._diffs, self._rule
        while diffs and rule.first_place(snapshot.last_id, diffs[0]) is SEEN:
            diffs.popleft()
        if not diffs and snapshot.last_id != own:
            return NotJoined.NEEDS_DIFF if own is None or snapshot.last_id > own else NotJoined.NEEDS_SNAPSHOT
        if diffs and rule.first_place(snapshot.last_id, diffs[0]) is not NEXT:
            return NotJoined.NEEDS_SNAPSHOT
        if (hole := self._find_hole()) is not None:
            for _ in range(hole):
                diffs.popleft()
            return NotJoined.NEEDS_SNAPSHOT
        return self._build(snapshot)

    def _find_hole(self) -> int | None:
        """The place of the first diff that does not continue the one before."""
        own: int | None = None
        for place, diff in enumerate(self._diffs):
            if own is not None and self._rule.place(own, diff) not in (NEXT, SEEN):
                return place
            own = diff.last_id if own is None else max(own, diff.last_id)
        return None

    def _build(self, snapshot: Snapshot) -> Chain | NotJoined:
        book = Book(snapshot.window)
        update_id, event_ms = snapshot.last_id, None
        try:
            book.replace(snapshot.bids, snapshot.asks)
            for diff in self._diffs:
                if diff.last_id >= update_id:
                    book.apply(diff.bids, diff.asks)
                    update_id, event_ms = diff.last_id, diff.event_ms
        except (TypeError, ValueError):
            self._diffs.clear()
            return NotJoined.NEEDS_SNAPSHOT
        return Chain(book, update_id, event_ms)
