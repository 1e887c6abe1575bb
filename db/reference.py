"""Rows that the migrations insert, for commands that use no database."""

from __future__ import annotations

import re
from pathlib import Path

from db.postgres import Cursor, scalar

_FILE = Path(__file__).parent / "migrations" / "0001.reference-data.sql"
# Symbol and kind of a row. The calendar of these instruments is named like their kind.
_INSTRUMENT = re.compile(r"^ *\('([A-Z0-9_]+)', +'[^']*', +'(fx|crypto|equity)',", re.MULTILINE)


def first_calendars() -> dict[str, str]:
    """symbol -> calendar of the instruments of a new database."""
    return dict(_INSTRUMENT.findall(_FILE.read_text()))


def has_calendars(cursor: Cursor) -> bool:
    """Whether the database has instruments with calendars: False before its migrations."""
    cursor.execute(
        "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('instruments') AND attname = 'calendar' AND NOT attisdropped)"
    )
    return bool(scalar(cursor))
