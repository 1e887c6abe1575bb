"""Rows that are deleted one by one when they are too old: of tables too small to have months."""

from __future__ import annotations

from datetime import date

from psycopg2 import sql

from db.postgres import Cursor

_TIME_OF = {"volatility": "time", "correlations": "time", "job_runs": "started"}
TABLES = tuple(_TIME_OF)
MOST = 10_000  # rows of one statement: a table of years does not run out of time


def delete_before(cursor: Cursor, table: str, day: date) -> int:
    """Delete up to `MOST` rows from before that day, UTC; how many they were."""
    statement = sql.SQL("DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE {time} < %s::timestamptz LIMIT %s))")
    cursor.execute(statement.format(table=sql.Identifier(table), time=sql.Identifier(_TIME_OF[table])), (f"{day}T00:00:00Z", MOST))
    return int(cursor.rowcount)
