"""Timed jobs: a row per run, retries of failed runs, one run after missed ones."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from apscheduler.triggers.cron import CronTrigger

from config.settings import Settings
from db.bus import Bus
from db.job_runs import begin_run
from db.postgres import Store
from jobs.runtime.context import JobContext, Timed
from jobs.runtime.runs import JobFailed, Runner, due_before, run_once

HOURLY = CronTrigger(minute=0, timezone=UTC)
NOON = datetime(2025, 11, 18, 12, tzinfo=UTC)


def work_at(settings: Settings, bus: Bus, store: Store, moment: datetime) -> JobContext:
    return JobContext(settings, bus, store, lambda: moment)


def job(run: Callable[[JobContext, datetime], int]) -> Timed:
    return Timed("test", "every hour", HOURLY, run, retries=2, retry_seconds=0.01)


def runs(store: Store) -> list[tuple[datetime, str, int | None, str | None]]:
    with store.transaction() as cursor:
        cursor.execute("SELECT as_of, outcome, rows, error FROM job_runs ORDER BY id")
        return list(cursor.fetchall())


@pytest.mark.parametrize(
    ("trigger", "now", "due"),
    [
        (HOURLY, NOON, NOON),
        (HOURLY, NOON - timedelta(microseconds=1), NOON - timedelta(hours=1)),
        (HOURLY, NOON + timedelta(minutes=59, seconds=59), NOON),
        (CronTrigger(hour=0, minute=5, timezone=UTC), NOON, datetime(2025, 11, 18, 0, 5, tzinfo=UTC)),
        (CronTrigger(day=1, timezone=UTC), NOON, datetime(2025, 11, 1, tzinfo=UTC)),
        (CronTrigger(month=1, day=1, timezone=UTC), NOON, None),
    ],
)
def test_due_before_returns_the_last_due_time(trigger: CronTrigger, now: datetime, due: datetime | None) -> None:
    assert due_before(trigger, now) == due


def test_run_is_stored_as_a_row(settings: Settings, bus: Bus, store: Store) -> None:
    work = work_at(settings, bus, store, NOON + timedelta(seconds=1))
    assert run_once(job(lambda _, as_of: as_of.hour), work, NOON) == 12
    assert runs(store) == [(NOON, "succeeded", 12, None)]


def test_failing_run_is_retried_and_every_attempt_is_a_row(settings: Settings, bus: Bus, store: Store) -> None:
    attempts: list[datetime] = []

    def run(_: JobContext, as_of: datetime) -> int:
        attempts.append(as_of)
        if len(attempts) < 3:
            raise ValueError("not yet")
        return 1

    assert run_once(job(run), work_at(settings, bus, store, NOON), NOON) == 1
    assert runs(store) == [(NOON, "failed", None, "ValueError: not yet")] * 2 + [(NOON, "succeeded", 1, None)]


def test_run_that_never_succeeds_is_given_up(settings: Settings, bus: Bus, store: Store) -> None:
    def run(_: JobContext, __: datetime) -> int:
        raise ZeroDivisionError

    work = work_at(settings, bus, store, NOON)
    with pytest.raises(JobFailed):
        run_once(job(run), work, NOON)
    Runner(job(run), work).run_due()  # raises nothing
    assert [outcome for _, outcome, _, _ in runs(store)] == ["failed"] * 6


def test_missed_runs_are_caught_up_once_for_the_last_time(settings: Settings, bus: Bus, store: Store) -> None:
    done: list[datetime] = []

    def run(_: JobContext, as_of: datetime) -> int:
        done.append(as_of)
        return 0

    for hours in (0, 0, 5, 5):
        Runner(job(run), work_at(settings, bus, store, NOON + timedelta(hours=hours, minutes=10))).catch_up()
    assert done == [NOON, NOON + timedelta(hours=5)]


def test_killed_run_is_abandoned_and_caught_up(settings: Settings, bus: Bus, store: Store) -> None:
    with store.transaction() as cursor:
        begin_run(cursor, "test", NOON, NOON)
    Runner(job(lambda *_: 3), work_at(settings, bus, store, NOON + timedelta(minutes=1))).catch_up()
    assert runs(store) == [(NOON, "abandoned", None, None), (NOON, "succeeded", 3, None)]


def test_runs_of_one_job_never_overlap(settings: Settings, bus: Bus, store: Store) -> None:
    inside, most = threading.Semaphore(1), []

    def run(_: JobContext, __: datetime) -> int:
        most.append(inside.acquire(blocking=False))
        threading.Event().wait(0.05)
        inside.release()
        return 0

    runner = Runner(job(run), work_at(settings, bus, store, NOON))
    threads = [threading.Thread(target=runner.run_due) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == [True] * 4


def test_stop_ends_the_wait_for_the_next_attempt(settings: Settings, bus: Bus, store: Store) -> None:
    def run(_: JobContext, __: datetime) -> int:
        raise ValueError

    work = work_at(settings, bus, store, NOON)
    work.stop.set()
    with pytest.raises(JobFailed, match="stopped"):
        run_once(replace(job(run), retry_seconds=3600.0), work, NOON)
