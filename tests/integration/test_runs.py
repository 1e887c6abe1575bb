"""Timed jobs: a row per run, retries of failed runs, one run after missed ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from hypothesis import given
from hypothesis import strategies as st

from config.settings import Settings
from db.bus import Bus
from db.job_runs import begin_run
from db.postgres import Store
from jobs.runtime.context import JobContext, Timed
from jobs.runtime.runs import JobFailed, Runner, due_before, run_once
from jobs.scheduler import _catch_up, _scheduler, plan_anew
from tests.support.examples import with_shared_fixtures

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

    hours = count()
    work = JobContext(settings, bus, store, lambda: NOON + timedelta(hours=next(hours)))
    runner = Runner(job(run), work)
    threads = [threading.Thread(target=runner.run_due) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == [True] * 4


def test_stop_ends_the_wait_for_the_next_attempt(settings: Settings, bus: Bus, store: Store) -> None:
    def run(_: JobContext, __: datetime) -> int:
        raise ValueError

    work = work_at(settings, bus, store, NOON)
    work.stop.set()
    with pytest.raises(JobFailed, match="stopped"):
        run_once(replace(job(run), retry_seconds=3600.0), work, NOON)


def test_job_that_is_due_while_the_past_is_made_runs_after_that(settings: Settings, bus: Bus, store: Store) -> None:
    """A first start some seconds before the full hour: the run would have no candles."""
    done: list[datetime] = []

    def run(_: JobContext, as_of: datetime) -> int:
        done.append(as_of)
        return 0

    work = work_at(settings, bus, store, NOON)
    runner = Runner(job(run), work)
    scheduler, _ = _scheduler([runner], work)
    due = scheduler.get_job("test").func
    due()
    assert done == []
    work.prepared.set()
    _catch_up(runner, work)
    due()
    assert done == [NOON]


# the clock is set


class Scheduled:
    """The job of a scheduler whose clock the test sets.

    The scheduler is paused: `tick` runs a due job in the way in which APScheduler would.
    """

    def __init__(self, settings: Settings, bus: Bus, store: Store) -> None:
        self.now = NOON - timedelta(minutes=30)
        self.done: list[datetime] = []
        self.context = JobContext(settings, bus, store, lambda: self.now)
        self.context.prepared.set()
        self.runner = Runner(job(self._run), self.context)
        self.scheduler = BackgroundScheduler(timezone=UTC)
        self.scheduler.start(paused=True)
        self.runner.catch_up()
        self.done.clear()  # the hour before the first one of the test
        self.scheduler.add_job(self.runner.run_due, HOURLY, id="test", next_run_time=HOURLY.get_next_fire_time(None, self.now))

    def _run(self, _: JobContext, as_of: datetime) -> int:
        self.done.append(as_of)
        return 0

    def go_on(self, span: timedelta) -> None:
        """Let the time pass, without a step."""
        end = self.now + span
        while (due := self.scheduler.get_job("test").next_run_time) <= end:
            self.now = max(self.now, due)
            self.runner.run_due()
            self.scheduler.modify_job("test", next_run_time=HOURLY.get_next_fire_time(due, self.now))
        self.now = end

    def set_clock(self, step: timedelta) -> None:
        """Set the clock; wait until the jobs process has reacted."""
        self.now += step
        before = set(threading.enumerate())
        plan_anew(self.scheduler, [self.runner], self.context)
        for thread in set(threading.enumerate()) - before:
            thread.join(60)


@pytest.fixture
def scheduled(settings: Settings, bus: Bus, store: Store) -> Iterator[Scheduled]:
    made = Scheduled(settings, bus, store)
    yield made
    made.scheduler.shutdown()


def hours(*numbers: int) -> list[datetime]:
    return [NOON + timedelta(hours=number) for number in numbers]


def test_clock_set_forward_over_an_hour_runs_that_hour_once(scheduled: Scheduled) -> None:
    scheduled.set_clock(timedelta(minutes=45))
    assert scheduled.done == hours(0)
    scheduled.go_on(timedelta(hours=2))
    assert scheduled.done == hours(0, 1, 2)


def test_clock_set_forward_over_many_hours_runs_the_last_one(scheduled: Scheduled) -> None:
    scheduled.set_clock(timedelta(hours=50))
    scheduled.go_on(timedelta(hours=1))
    assert scheduled.done == hours(49, 50)


def test_clock_set_back_runs_no_hour_twice(scheduled: Scheduled) -> None:
    scheduled.go_on(timedelta(hours=1))
    for step in (-40, -1, -25):
        scheduled.set_clock(timedelta(minutes=step))
        scheduled.go_on(timedelta(minutes=40))
    scheduled.go_on(timedelta(hours=2))
    assert scheduled.done == hours(0, 1, 2, 3)


def test_hours_after_a_clock_that_was_ahead_are_not_missed(scheduled: Scheduled) -> None:
    """The next run stood in the wrong future, and the last success too."""
    scheduled.set_clock(timedelta(days=400))
    scheduled.go_on(timedelta(minutes=40))
    wrong = len(scheduled.done)
    scheduled.set_clock(timedelta(days=-400))
    assert scheduled.done[wrong:] == hours(0)
    scheduled.go_on(timedelta(hours=2))
    assert scheduled.done[wrong:] == hours(0, 1, 2)


@with_shared_fixtures(max_examples=15)
@given(moves=st.lists(st.tuples(st.booleans(), st.integers(-400, 400)), max_size=6))
def test_every_hour_runs_at_most_once_and_the_last_one_ran(scheduled: Scheduled, moves: list[tuple[bool, int]]) -> None:
    with scheduled.context.store.transaction() as cursor:
        cursor.execute("TRUNCATE job_runs")
    scheduled.done.clear()
    scheduled.set_clock(NOON - timedelta(minutes=30) - scheduled.now)
    for is_step, minutes in moves:
        if is_step:
            scheduled.set_clock(timedelta(minutes=minutes))
        else:
            scheduled.go_on(timedelta(minutes=abs(minutes)))
        assert len(scheduled.done) == len(set(scheduled.done))
        assert scheduled.now.replace(minute=0) in scheduled.done
