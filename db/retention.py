"""Deletion of old rows from tables that are too small for monthly partitions."""

from __future__ import annotations

from datetime import date

from psycopg2 import sql

from db.postgres import Cursor

_TIME_OF = {"volatility": "time", "correlations": "time", "job_runs": "started"}
TABLES = tuple(_TIME_OF)
MAX_ROWS_PER_DELETE = 10_000  # so that one DELETE stays below `statement_timeout`

_DELETE = """
DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE {time} < %s::timestamptz LIMIT %s))
"""


def delete_before(cursor: Cursor, table: str, day: date) -> int:
    """Delete up to `MAX_ROWS_PER_DELETE` rows from before that day (UTC); returns their number."""
    statement = sql.SQL(_DELETE).format(table=sql.Identifier(table), time=sql.Identifier(_TIME_OF[table]))
    cursor.execute(statement, (f"{day}T00:00:00Z", MAX_ROWS_PER_DELETE))
    return int(cursor.rowcount)
