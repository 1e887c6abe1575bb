"""SQL of `gaps` of kind `book`: the times at which a kept book was not live, and why.

No job fills these gaps: the exchange sends no past of a book. A gap is filled when a new snapshot
has made its book live again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from db.postgres import Cursor

_MOMENT = timedelta(microseconds=1)  # ends are exclusive
_FILL = "UPDATE gaps SET state = 'filled', end_time = greatest(%s, start_time + interval '1 microsecond'), updated = %s"


@dataclass(frozen=True, slots=True)
class BookGap:
    """A departure of a book from `live` that needs a new snapshot.

    `start` is the time of the departure, `end` that of the return; None until then. The missing
    update ids are `first_id` to `last_id`; both are None if they are unknown.
    """

    symbol: str
    start: datetime
    reason: str
    first_id: int | None = None
    last_id: int | None = None
    end: datetime | None = None

    @property
    def missing(self) -> int:
        """The number of missing update ids; 0 if it is unknown."""
        return 0 if self.first_id is None or self.last_id is None else self.last_id - self.first_id + 1


def save_book_gap(cursor: Cursor, source: str, gap: BookGap, now: datetime) -> None:
    """Insert the gap, or replace its row: `open` without an `end`, else `filled`.

    The end of an open gap is `now`. A repeated call with the same gap changes nothing else.
    """
    end = max(gap.end or now, gap.start + _MOMENT)
    cursor.execute(
        "INSERT INTO gaps (source, symbol, kind, first_id, last_id, start_time, end_time, missing, state, reason, detected, updated)"
        " VALUES (%s, %s, 'book', %s, %s, %s, %s, %s, %s, %s, %s, %s)"
        " ON CONFLICT (source, symbol, kind, interval, first_id, start_time) DO UPDATE SET last_id = excluded.last_id,"
        " end_time = excluded.end_time, missing = excluded.missing, state = excluded.state, reason = excluded.reason,"
        " updated = excluded.updated",
        (
            source, gap.symbol, gap.first_id, gap.last_id, gap.start, end, gap.missing,
            "open" if gap.end is None else "filled", gap.reason, now, now,
        ),
    )  # fmt: skip


def withdraw_book_gap(cursor: Cursor, source: str, gap: BookGap) -> None:
    """Delete the gap if it is open: its book has become live again without a new snapshot."""
    cursor.execute(
        "DELETE FROM gaps WHERE source = %s AND symbol = %s AND kind = 'book' AND start_time = %s AND state = 'open'",
        (source, gap.symbol, gap.start),
    )


def fill_book_gaps(cursor: Cursor, source: str, symbol: str, end: datetime, now: datetime) -> int:
    """Mark the open gaps of one book as filled at `end`; returns their number.

    For a process that has just made the book live: a process before it may have left a gap open.
    """
    cursor.execute(f"{_FILL} WHERE source = %s AND symbol = %s AND kind = 'book' AND state = 'open'", (end, now, source, symbol))
    return int(cursor.rowcount)
