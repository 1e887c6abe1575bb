"""SQL of `backfills`: the progress of each backfill."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from db.postgres import Cursor

ALWAYS, FOREVER = "-infinity", "infinity"  # start and end of an unlimited range


@dataclass(frozen=True, slots=True)
class Backfill:
    """The request for a backfill, the key of its row: `start` <= time < `end`.

    Both times are in contract form, or `ALWAYS` and `FOREVER`. `interval` is empty except for
    candles. `symbol` is empty if the file contains the symbols.
    """

    source: str
    symbol: str
    interval: str
    start: str
    end: str


@dataclass(frozen=True, slots=True)
class BackfillProgress:
    """The stored part: up to `position`, in the notation of the source, or all if `finished`."""

    position: str
    finished: bool


_KEY = "source = %s AND symbol = %s AND interval = %s AND start_time = %s AND end_time = %s"


def progress(cursor: Cursor, backfill: Backfill) -> BackfillProgress | None:
    """The progress of a backfill; None if it has not begun."""
    cursor.execute(f"SELECT position, finished FROM backfills WHERE {_KEY}", _key(backfill))  # noqa: S608
    row = cursor.fetchone()
    return None if row is None else BackfillProgress(*row)


def remember(cursor: Cursor, backfill: Backfill, reached: BackfillProgress, now: datetime) -> None:
    """Store the progress, in the transaction that stores the rows up to it."""
    cursor.execute(
        "INSERT INTO backfills (source, symbol, interval, start_time, end_time, position, finished, updated) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (source, symbol, interval, start_time, end_time) "
        "DO UPDATE SET position = excluded.position, finished = excluded.finished, updated = excluded.updated",
        (*_key(backfill), reached.position, reached.finished, now),
    )


def forget(cursor: Cursor, backfill: Backfill) -> None:
    """Delete the progress, so that the backfill begins anew."""
    cursor.execute(f"DELETE FROM backfills WHERE {_KEY}", _key(backfill))  # noqa: S608


def _key(backfill: Backfill) -> tuple[str, str, str, str, str]:
    return backfill.source, backfill.symbol, backfill.interval, backfill.start, backfill.end
