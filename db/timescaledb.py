"""SQL about TimescaleDB: its version, and its views, which only a server with the extension has."""

from __future__ import annotations

from dataclasses import dataclass

from db.postgres import Cursor, scalar

_VERSION = "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
# The messages of a job are visible to its owner alone.
_FAILED = """
SELECT s.job_id, coalesce(j.proc_name, ''), coalesce(s.hypertable_name, ''),
       (SELECT err_message FROM timescaledb_information.job_errors e WHERE e.job_id = s.job_id ORDER BY e.start_time DESC LIMIT 1)
FROM timescaledb_information.job_stats s LEFT JOIN timescaledb_information.jobs j USING (job_id)
WHERE s.last_run_status = 'Failed' ORDER BY s.job_id
"""


@dataclass(frozen=True, slots=True)
class FailedJob:
    """A background job whose last run failed; `message` is None if our role may not see it."""

    id: int
    name: str
    table: str
    message: str | None


def extension_version(cursor: Cursor) -> str | None:
    """Return the version of the extension in this database; None without it."""
    cursor.execute(_VERSION)
    row = cursor.fetchone()
    return None if row is None else str(row[0])


def failed_jobs(cursor: Cursor) -> list[FailedJob]:
    """Return the background jobs whose last run failed, by id."""
    cursor.execute(_FAILED)
    return [FailedJob(*row) for row in cursor.fetchall()]


def failed_background_jobs(cursor: Cursor) -> int | None:
    """The number of background jobs whose last run failed; None without TimescaleDB."""
    cursor.execute("SELECT to_regclass('timescaledb_information.job_stats') IS NOT NULL")
    if not scalar(cursor):
        return None
    cursor.execute("SELECT count(*) FROM timescaledb_information.job_stats WHERE last_run_status = 'Failed'")
    return int(scalar(cursor))
