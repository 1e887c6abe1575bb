"""SQL of `jobs` and `job_runs`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any


def write_jobs(cursor: Any, jobs: Sequence[tuple[str, str, datetime | None]], now: datetime) -> None:
    """Say what the active scheduler runs: (id, schedule in words, next run) of every job; others are gone."""
    cursor.execute("DELETE FROM jobs WHERE id <> ALL (%s)", ([job for job, _, _ in jobs],))
    for job, schedule, next_run in jobs:
        cursor.execute(
            "INSERT INTO jobs (id, schedule, next_run, updated) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (id) DO UPDATE SET schedule = excluded.schedule, next_run = excluded.next_run, updated = excluded.updated",
            (job, schedule, next_run, now),
        )


def begin_run(cursor: Any, job: str, as_of: datetime, now: datetime) -> int:
    """Note that a run of `job` begins; its id. A run of the same job that never ended was killed: it is `abandoned`."""
    cursor.execute("UPDATE job_runs SET outcome = 'abandoned', finished = %s WHERE job = %s AND outcome = 'running'", (now, job))
    cursor.execute(
        "INSERT INTO job_runs (job, as_of, started, outcome) VALUES (%s, %s, %s, 'running') RETURNING id",
        (job, as_of, now),
    )
    return int(cursor.fetchone()[0])


def end_run(cursor: Any, run: int, now: datetime, *, rows: int | None = None, error: str | None = None) -> None:
    """Note how the run ended: with `rows` written, or with what went wrong."""
    cursor.execute(
        "UPDATE job_runs SET finished = %s, outcome = %s, rows = %s, error = %s WHERE id = %s",
        (now, "succeeded" if error is None else "failed", rows, error, run),
    )


def last_success(cursor: Any, job: str) -> datetime | None:
    """The latest moment that `job` has succeeded for."""
    cursor.execute("SELECT max(as_of) FROM job_runs WHERE job = %s AND outcome = 'succeeded'", (job,))
    found: datetime | None = cursor.fetchone()[0]
    return found


def job_states(cursor: Any) -> list[tuple[Any, ...]]:
    """(id, schedule, next run, then of the last run: as_of, started, finished, outcome, rows, error) of every job."""
    cursor.execute(
        "SELECT j.id, j.schedule, j.next_run, r.as_of, r.started, r.finished, r.outcome, r.rows, r.error FROM jobs j"
        " LEFT JOIN LATERAL (SELECT * FROM job_runs WHERE job = j.id ORDER BY started DESC, id DESC LIMIT 1) r ON true ORDER BY j.id"
    )
    return list(cursor.fetchall())
