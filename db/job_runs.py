"""SQL of `jobs` and `job_runs`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from db.postgres import Cursor, scalar


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job.

    `finished` is None while it runs, `rows` is None unless it succeeded, `error` is None unless it
    failed.
    """

    as_of: datetime
    started: datetime
    finished: datetime | None
    outcome: str  # running, succeeded, failed or abandoned
    rows: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class JobState:
    """A job of the active scheduler. `next_run` is None for a service, which runs continuously."""

    id: str
    schedule: str
    next_run: datetime | None
    last_run: Run | None


def write_jobs(cursor: Cursor, jobs: Sequence[tuple[str, str, datetime | None]], now: datetime) -> None:
    """Replace the rows by the jobs of the active scheduler: (id, schedule in words, next run)."""
    cursor.execute("DELETE FROM jobs WHERE id <> ALL (%s)", ([job for job, _, _ in jobs],))
    for job, schedule, next_run in jobs:
        cursor.execute(
            "INSERT INTO jobs (id, schedule, next_run, updated) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (id) DO UPDATE SET schedule = excluded.schedule, next_run = excluded.next_run, updated = excluded.updated",
            (job, schedule, next_run, now),
        )


def abandon_runs(cursor: Cursor, job: str, now: datetime) -> int:
    """Mark the runs of `job` that never ended, because they were killed; returns their number."""
    cursor.execute("UPDATE job_runs SET outcome = 'abandoned', finished = %s WHERE job = %s AND outcome = 'running'", (now, job))
    return int(cursor.rowcount)


def begin_run(cursor: Cursor, job: str, as_of: datetime, now: datetime) -> int:
    """Insert a new run of `job`; returns its id. Call `abandon_runs` before it."""
    cursor.execute(
        "INSERT INTO job_runs (job, as_of, started, outcome) VALUES (%s, %s, %s, 'running') RETURNING id",
        (job, as_of, now),
    )
    return int(scalar(cursor))


def take_turn(cursor: Cursor, job: str) -> None:
    """Lock this job until the transaction ends; waits for any other holder of the lock.

    The lock keeps apart a scheduled run, a run by hand, and a run of a former leader that has not
    noticed its loss yet. Otherwise one would read figures that another is about to change.
    """
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext('tickwire job ' || %s))", (job,))


def end_run(cursor: Cursor, run: int, now: datetime, *, rows: int | None = None, error: str | None = None) -> None:
    """Store the end of a run: `rows` written, or the text of its `error`."""
    cursor.execute(
        "UPDATE job_runs SET finished = %s, outcome = %s, rows = %s, error = %s WHERE id = %s",
        (now, "succeeded" if error is None else "failed", rows, error, run),
    )


def has_succeeded(cursor: Cursor, job: str, as_of: datetime) -> bool:
    """Whether `job` has a successful run for exactly this time."""
    cursor.execute("SELECT EXISTS (SELECT FROM job_runs WHERE job = %s AND as_of = %s AND outcome = 'succeeded')", (job, as_of))
    return bool(scalar(cursor))


def last_success(cursor: Cursor, job: str) -> datetime | None:
    """The latest `as_of` of a successful run of `job`; None if there is none."""
    cursor.execute("SELECT max(as_of) FROM job_runs WHERE job = %s AND outcome = 'succeeded'", (job,))
    found: datetime | None = scalar(cursor)
    return found


def last_successes(cursor: Cursor) -> dict[str, datetime]:
    """Job -> end of its last successful run; jobs without one are left out."""
    cursor.execute("SELECT job, max(finished) FROM job_runs WHERE outcome = 'succeeded' GROUP BY job")
    return dict(cursor.fetchall())


def last_endings(cursor: Cursor) -> dict[str, Run]:
    """Job -> its last run that succeeded or failed, by the time of its start."""
    cursor.execute(
        "SELECT DISTINCT ON (job) job, as_of, started, finished, outcome, rows, error FROM job_runs"
        " WHERE outcome IN ('succeeded', 'failed') ORDER BY job, started DESC, id DESC"
    )
    return {job: Run(*run) for job, *run in cursor.fetchall()}


def job_states(cursor: Cursor) -> list[JobState]:
    """Every job with its last run, by id."""
    cursor.execute(
        "SELECT j.id, j.schedule, j.next_run, r.as_of, r.started, r.finished, r.outcome, r.rows, r.error FROM jobs j"
        " LEFT JOIN LATERAL (SELECT * FROM job_runs WHERE job = j.id ORDER BY started DESC, id DESC LIMIT 1) r ON true ORDER BY j.id"
    )
    return [
        JobState(job, schedule, next_run, Run(as_of, *run) if as_of is not None else None)
        for job, schedule, next_run, as_of, *run in cursor.fetchall()
    ]
