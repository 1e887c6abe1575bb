"""Runs of timed jobs: each is a row, a failed one is repeated, a missed one is caught up once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from config.pacing import Outage, Stopped, backoff, retry
from config.secrets import scrub
from db.bus import BusError
from db.job_runs import abandon_runs, begin_run, end_run, has_succeeded
from db.postgres import Cursor, StoreError
from jobs.measures.counts import ABANDONED, FAILED, SUCCEEDED
from jobs.runtime.context import JobContext, Timed

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

_LOOK_BACK = (timedelta(hours=2), timedelta(days=2), timedelta(days=60))
_LONGEST_PAUSE = 300.0
_STORE_SECONDS = 1.0  # between two attempts to reach the store
_ERROR_LENGTH = 500


class JobFailed(Exception):
    """A job failed in all its attempts, or was stopped."""


def due_before(trigger: BaseTrigger, now: datetime) -> datetime | None:
    """The last time up to `now` at which the trigger fires; None if that is over two months ago."""
    for span in _LOOK_BACK:
        moment: datetime | None = trigger.get_next_fire_time(None, now - span)
        last: datetime | None = None
        while moment is not None and moment <= now:
            last = moment
            moment = trigger.get_next_fire_time(moment, moment + timedelta(microseconds=1))
        if last is not None:
            return last.astimezone(UTC)
    return None


class Runner:
    """Runs one timed job for a scheduler, one run at a time."""

    def __init__(self, job: Timed, context: JobContext) -> None:
        self.job = job
        self._context = context
        self._one = threading.Lock()

    def run_due(self) -> None:
        """Run the job for the last time at which it was due, unless it has succeeded for that time.

        After the clock was set back, the same time is due a second time.
        """
        with self._one, suppress(Stopped):
            self._guarded(self._missed())

    def catch_up(self) -> None:
        """Run the job for the last time at which it was due, unless it has succeeded for that time.

        Waits while the store is unavailable.
        """
        with self._one, suppress(Stopped):
            if not self._context.stop.is_set() and (due := self._missed()) is not None:
                log.info("catching up", extra={"job": self.job.id, "as_of": due.isoformat()})
                self._guarded(due)

    def _missed(self) -> datetime | None:
        """The last time at which the job was due; None if it has succeeded for that time.

        Later times do not count: they come from a clock that was ahead.
        """
        due = due_before(self.job.trigger, self._context.clock())
        if due is None or _read_store(self._context, self.job, lambda cursor: has_succeeded(cursor, self.job.id, due)):
            return None
        return due

    def _guarded(self, as_of: datetime | None) -> None:
        try:
            if as_of is not None:
                run_once(self.job, self._context, as_of)
        except JobFailed:
            pass  # logged, and noted in the row of the run


def run_once(job: Timed, context: JobContext, as_of: datetime) -> int:
    """Run the job for `as_of`, with retries; return the number of rows written. Raises `JobFailed`.

    If the store is unavailable when a run begins, the run waits. This wait uses none of its
    attempts.
    """
    attempt = 0
    while True:
        try:
            return _attempt(job, context, as_of, _begin(job, context, as_of))
        except Stopped as error:
            raise JobFailed("stopped before it was done") from error
        except (BusError, StoreError) as error:  # a server is away or its disk is full: no traceback
            fields = {"job": job.id, "as_of": as_of.isoformat(), "attempt": attempt + 1}
            log.error("job failed", extra={**fields, "reason": _first_line(error)})
            failure: Exception = error
        except Exception as error:
            log.exception("job failed", extra={"job": job.id, "as_of": as_of.isoformat(), "attempt": attempt + 1})
            failure = error
        if attempt >= job.retries:
            raise JobFailed(_first_line(failure)) from failure
        attempt += 1
        if context.stop.wait(backoff(attempt, first=job.retry_seconds, longest=_LONGEST_PAUSE, jitter=1.0, spread=0.0)):
            raise JobFailed("stopped before it could be tried again")


def _begin(job: Timed, context: JobContext, as_of: datetime) -> int:
    """Insert the row of a run; return its id. Raises `Stopped`."""

    def begin(cursor: Cursor) -> tuple[int, int]:
        now = context.clock()
        return abandon_runs(cursor, job.id, now), begin_run(cursor, job.id, as_of, now)

    abandoned, run = _read_store(context, job, begin)
    context.measures.tasks.runs.add(job.id, ABANDONED, by=abandoned)
    return run


def _read_store(context: JobContext, job: Timed, read: Callable[[Cursor], Answer]) -> Answer:
    """The result of `read` in a transaction, as soon as the store answers. Raises `Stopped`."""

    def call() -> Answer:
        with context.store.transaction() as cursor:
            return read(cursor)

    outage = Outage(log, "job waits for the store", monotonic=time.monotonic, job=job.id)
    return retry(call, on=StoreError, stop=context.stop, outage=outage, pause=lambda attempt: _STORE_SECONDS)


def _attempt(job: Timed, context: JobContext, as_of: datetime, run: int) -> int:
    started = time.monotonic()
    try:
        rows = job.run(context, as_of)
    except Exception as error:
        context.measures.tasks.ended(job.id, FAILED, time.monotonic() - started, context.clock())
        # If this fails too, the next run marks the row as abandoned.
        with suppress(StoreError), context.store.transaction() as cursor:
            end_run(cursor, run, context.clock(), error=_first_line(error))
        raise
    with context.store.transaction() as cursor:
        end_run(cursor, run, context.clock(), rows=rows)
    seconds = time.monotonic() - started
    context.measures.tasks.ended(job.id, SUCCEEDED, seconds, context.clock())
    log.info("job done", extra={"job": job.id, "rows": rows, "seconds": round(seconds, 3)})
    return rows


def _first_line(error: Exception) -> str:
    """Type and first line of the error without secrets, for the list of jobs.

    Further lines would be SQL.
    """
    return scrub(": ".join(part for part in (type(error).__name__, str(error).partition("\n")[0]) if part))[:_ERROR_LENGTH]
