"""SQL of `jobs` and `job_runs`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from db.postgres import Cursor, scalar


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job: `finished` is None while it runs, `rows` unless it succeeded, `error` unless it failed."""

    as_of: datetime
    started: datetime
    finished: datetime | None
    outcome: str  # running, succeeded, failed or abandoned
    rows: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class JobState:
    """A job as the active scheduler has it. One that lasts as long as its process has no `next_run`."""

    id: str
    schedule: str
    next_run: datetime | None
    last_run: Run | None


def write_jobs(cursor: Cursor, jobs: Sequence[tuple[str, str, datetime | None]], now: datetime) -> None:
    """Say what the active scheduler runs: (id, schedule in words, next run) of every job; others are gone."""
    cursor.execute("DELETE FROM jobs WHERE id <> ALL (%s)", ([job for job, _, _ in jobs],))
    for job, schedule, next_run in jobs:
        cursor.execute(
            "INSERT INTO jobs (id, schedule, next_run, updated) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (id) DO UPDATE SET schedule = excluded.schedule, next_run = excluded.next_run, updated = excluded.updated",
            (job, schedule, next_run, now),
        )


def begin_run(cursor: Cursor, job: str, as_of: datetime, now: datetime) -> int:
    """Note that a run of `job` begins; its id. A run of the same job that never ended was killed: it is `abandoned`."""
    cursor.execute("UPDATE job_runs SET outcome = 'abandoned', finished = %s WHERE job = %s AND outcome = 'running'", (now, job))
    cursor.execute(
        "INSERT INTO job_runs (job, as_of, started, outcome) VALUES (%s, %s, %s, 'running') RETURNING id",
        (job, as_of, now),
    )
    return int(scalar(cursor))


def take_turn(cursor: Cursor, job: str) -> None:
    """Wait until nobody else is at this job's figures; until the transaction ends nobody else gets there.

    A run by hand beside the scheduler's, or one of a leader that has not noticed yet that it is none, would judge on what the other is
    about to change.
    """
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext('tickwire job ' || %s))", (job,))


def end_run(cursor: Cursor, run: int, now: datetime, *, rows: int | None = None, error: str | None = None) -> None:
    """Note how the run ended: with `rows` written, or with what went wrong."""
    cursor.execute(
        "UPDATE job_runs SET finished = %s, outcome = %s, rows = %s, error = %s WHERE id = %s",
        (now, "succeeded" if error is None else "failed", rows, error, run),
    )


def last_success(cursor: Cursor, job: str) -> datetime | None:
    """The latest moment that `job` has succeeded for."""
    cursor.execute("SELECT max(as_of) FROM job_runs WHERE job = %s AND outcome = 'succeeded'", (job,))
    found: datetime | None = scalar(cursor)
    return found


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
