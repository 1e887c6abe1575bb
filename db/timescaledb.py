"""SQL of the views of TimescaleDB, which only a server with the extension has."""

from __future__ import annotations

from db.postgres import Cursor, scalar


def failed_background_jobs(cursor: Cursor) -> int | None:
    """The number of background jobs whose last run failed; None without TimescaleDB."""
    cursor.execute("SELECT to_regclass('timescaledb_information.job_stats') IS NOT NULL")
    if not scalar(cursor):
        return None
    cursor.execute("SELECT count(*) FROM timescaledb_information.job_stats WHERE last_run_status = 'Failed'")
    return int(scalar(cursor))
