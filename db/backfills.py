"""SQL of `backfills`: how far each has come."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from db.postgres import Cursor

ALWAYS, FOREVER = "-infinity", "infinity"  # a range without a start, without an end


@dataclass(frozen=True, slots=True)
class Backfill:
    """What was asked for, a row of the table: `start` <= time < `end`, in contract form or one of the two above.

    `interval` is empty but for candles, `symbol` where a file says it itself.
    """

    source: str
    symbol: str
    interval: str
    start: str
    end: str


@dataclass(frozen=True, slots=True)
class BackfillProgress:
    """What is stored of it: up to `position`, the source's own word for a place, or all."""

    position: str
    finished: bool


_KEY = "source = %s AND symbol = %s AND interval = %s AND start_time = %s AND end_time = %s"


def progress(cursor: Cursor, asked: Backfill) -> BackfillProgress | None:
    """How far it has come; None where nothing of it is known."""
    cursor.execute(f"SELECT position, finished FROM backfills WHERE {_KEY}", _key(asked))  # noqa: S608
    row = cursor.fetchone()
    return None if row is None else BackfillProgress(*row)


def remember(cursor: Cursor, asked: Backfill, reached: BackfillProgress, now: datetime) -> None:
    """Note how far it has come, in the transaction that stores the rows up to there."""
    cursor.execute(
        "INSERT INTO backfills (source, symbol, interval, start_time, end_time, position, finished, updated) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (source, symbol, interval, start_time, end_time) "
        "DO UPDATE SET position = excluded.position, finished = excluded.finished, updated = excluded.updated",
        (*_key(asked), reached.position, reached.finished, now),
    )


def forget(cursor: Cursor, asked: Backfill) -> None:
    """Let it begin anew."""
    cursor.execute(f"DELETE FROM backfills WHERE {_KEY}", _key(asked))  # noqa: S608


def _key(asked: Backfill) -> tuple[str, str, str, str, str]:
    return asked.source, asked.symbol, asked.interval, asked.start, asked.end
