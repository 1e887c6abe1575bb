"""Running timed jobs: every run is a row, one that fails is tried again, one that was missed is caught up once."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta

from apscheduler.triggers.base import BaseTrigger

from db.job_runs import begin_run, end_run, last_success
from db.postgres import StoreError
from jobs.work import Timed, Work

log = logging.getLogger(__name__)

_LOOK_BACK = (timedelta(hours=2), timedelta(days=2), timedelta(days=60))
_LONGEST_PAUSE = 300.0
_ERROR_LENGTH = 500


class JobFailed(Exception):
    """A job did not succeed, however often it was tried."""


def due_before(trigger: BaseTrigger, now: datetime) -> datetime | None:
    """The last moment up to `now` at which the trigger fires; None where that is more than two months ago."""
    for span in _LOOK_BACK:
        moment: datetime | None = trigger.get_next_fire_time(None, now - span)
        last: datetime | None = None
        while moment is not None and moment <= now:
            last = moment
            moment = trigger.get_next_fire_time(moment, moment + timedelta(microseconds=1))
        if last is not None:
            return last.astimezone(UTC)
    return None


def missed(job: Timed, work: Work) -> datetime | None:
    """The moment to catch up: the last one due, unless the job has succeeded for it or never ran at all. Raises `StoreError`."""
    with work.store.transaction() as cursor:
        last = last_success(cursor, job.id)
    due = due_before(job.trigger, work.clock())
    return due if due is not None and last is not None and last < due else None


def run_due(job: Timed, work: Work) -> None:
    """Run the job for the last moment at which it was due. Raises nothing: it is the top of a scheduler's thread."""
    try:
        if (as_of := due_before(job.trigger, work.clock())) is not None:
            run_once(job, work, as_of)
    except JobFailed:
        pass  # logged, and in its row
    except Exception:
        log.exception("job failed", extra={"job": job.id})


def run_once(job: Timed, work: Work, as_of: datetime) -> int:
    """Run the job for `as_of`, trying again where it fails; how many rows it wrote. Raises `JobFailed`."""
    attempt = 0
    while True:
        try:
            return _attempt(job, work, as_of)
        except Exception as error:
            if isinstance(error, StoreError):
                log.warning("job waits for the store: %s", error, extra={"job": job.id})
            else:
                log.exception("job failed", extra={"job": job.id, "as_of": as_of.isoformat(), "attempt": attempt + 1})
            if attempt >= job.retries:
                raise JobFailed(f"{job.id}: {error}") from error
        if work.stop.wait(min(_LONGEST_PAUSE, job.retry_seconds * 2**attempt)):
            raise JobFailed(f"{job.id}: stopped before it could be tried again")
        attempt += 1


def _attempt(job: Timed, work: Work, as_of: datetime) -> int:
    with work.store.transaction() as cursor:
        run = begin_run(cursor, job.id, as_of, work.clock())
    started = time.monotonic()
    try:
        rows = job.run(work, as_of)
    except Exception as error:
        with work.store.transaction() as cursor:
            end_run(cursor, run, work.clock(), error=f"{type(error).__name__}: {error}"[:_ERROR_LENGTH])
        raise
    with work.store.transaction() as cursor:
        end_run(cursor, run, work.clock(), rows=rows)
    log.info("job done", extra={"job": job.id, "rows": rows, "seconds": round(time.monotonic() - started, 3)})
    return rows
