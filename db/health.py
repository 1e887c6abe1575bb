"""SQL of `health`: the check that the database commits new rows and finds rows."""

from __future__ import annotations

from datetime import datetime

from db.postgres import Cursor, scalar


def check_write_and_read(cursor: Cursor, process: str, now: datetime, *, read_only_role: bool) -> bool:
    """Write the row of `process` and read `instruments`; return False if there is no instrument.

    A role that reads by default (`read_only_role`) asks for a transaction that may write. Any other
    role uses the default of the server, as the writers do.
    """
    if read_only_role:
        cursor.execute("SET TRANSACTION READ WRITE")
    cursor.execute(
        "INSERT INTO health (process, at) VALUES (%s, %s) ON CONFLICT (process) DO UPDATE SET at = excluded.at",
        (process, now),
    )
    cursor.execute("SELECT EXISTS (SELECT FROM instruments)")
    return bool(scalar(cursor))


def is_migrated(cursor: Cursor) -> bool:
    """Return True if the tables `prices` and `health` exist."""
    cursor.execute("SELECT to_regclass('prices') IS NOT NULL AND to_regclass('health') IS NOT NULL")
    return bool(scalar(cursor))
