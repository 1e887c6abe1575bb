"""SQL of `metrics_marks` (store layer): minutes and hours whose rows have to be built again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from db.metrics.columns import HOUR, MINUTE, SECOND, Section
from db.postgres import Cursor
from db.rows import insert_rows


def insert_seconds(cursor: Cursor, section: Section, rows: Sequence[Any]) -> int:
    """Insert the rows of a second that are not stored yet, and mark their minutes."""
    inserted = insert_rows(cursor, section.table(SECOND), rows)
    if inserted:
        mark(cursor, section, MINUTE, {row.time.replace(second=0, microsecond=0) for row in rows})
    return inserted


def mark(cursor: Cursor, section: Section, tier: str, starts: Iterable[datetime]) -> None:
    """Mark these minutes or hours, given by their starts."""
    cursor.execute(
        "INSERT INTO metrics_marks (section, tier, start) SELECT %s, %s, start FROM unnest(%s::timestamptz[]) AS start",
        (section.name, tier, sorted(starts)),
    )


def take_marks(cursor: Cursor, section: Section, tier: str, ended: datetime, most: int) -> list[datetime]:
    """Remove up to `most` marks of minutes or hours that end by `ended`; return their starts.

    The same start is returned once.
    """
    cursor.execute(
        "DELETE FROM metrics_marks WHERE ctid = ANY (ARRAY(SELECT ctid FROM metrics_marks"
        " WHERE tier = %s AND section = %s AND start + %s <= %s ORDER BY start LIMIT %s)) RETURNING start",
        (tier, section.name, "1 hour" if tier == HOUR else "1 minute", ended, most),
    )
    return sorted({start for (start,) in cursor.fetchall()})
