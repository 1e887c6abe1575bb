"""Deletion of old rows from tables that are too small for partitions."""

from __future__ import annotations

from datetime import date

from psycopg2 import sql

from db.postgres import Cursor

_REPORTS = (("orders", "time"), ("round_trips", "closed"), ("report_ids", "received"), ("corrections", "received"))
# table -> column of the age, the table whose days decide, and a condition of old rows
_ROWS = {
    "volatility": ("time", "candles", "TRUE"),
    "correlations": ("time", "candles", "TRUE"),
    "correlation_constants": ("time", "candles", "TRUE"),
    "job_runs": ("started", "candles", "TRUE"),
    "health": ("at", "candles", "TRUE"),  # of processes that no longer exist
    "gaps": ("end_time", "raw_trades", "state <> 'open'"),
    # These have days of their own.
    "access_log": ("at", "access_log", "TRUE"),
    "alerts": ("resolved_at", "alerts", "state = 'resolved'"),
    **{table: (column, "fills", "TRUE") for table, column in _REPORTS},
    "position_checkpoints": ("day", "position_checkpoints", "TRUE"),
    "scenario_runs": ("started", "scenario_runs", "TRUE"),
}
KEPT_AS = {table: kept_as for table, (_, kept_as, _) in _ROWS.items()}  # table -> table whose rows are kept as long
MAX_ROWS_PER_DELETE = 10_000  # so that one DELETE stays below `statement_timeout`

_DELETE = """
DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE {time} < %s::timestamptz AND {condition} LIMIT %s))
"""


def delete_before(cursor: Cursor, table: str, day: date) -> int:
    """Delete up to `MAX_ROWS_PER_DELETE` rows from before that day (UTC); returns their number.

    Open gaps stay, and so do alerts that are not resolved.
    """
    time, _, condition = _ROWS[table]
    statement = sql.SQL(_DELETE).format(table=sql.Identifier(table), time=sql.Identifier(time), condition=sql.SQL(condition))
    cursor.execute(statement, (f"{day}T00:00:00Z", MAX_ROWS_PER_DELETE))
    return int(cursor.rowcount)
