"""The jobs process, `python -m jobs.scheduler`: the table of all jobs, and their threads."""

from __future__ import annotations

if __name__ == "__main__" and __spec__ is None:  # `python jobs/scheduler.py`, which finds no module of ours
    import os
    import sys

    os.chdir(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    os.execv(sys.executable, [sys.executable, "-m", "jobs.scheduler", *sys.argv[1:]])  # noqa: S606

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC
from functools import partial
from typing import Any

from apscheduler.events import EVENT_SCHEDULER_STARTED
from apscheduler.schedulers.base import BaseScheduler
from apscheduler.schedulers.blocking import BlockingScheduler
from apscheduler.triggers.cron import CronTrigger

from config.loops import HEARTBEATS, BeatingStop
from config.pacing import STOP_POLL_SECONDS
from config.venues import with_prices
from db.bus import Bus, BusError
from db.job_runs import write_jobs
from db.leadership import Leadership
from db.postgres import StoreError
from db.scenarios.files import has_books
from db.timestamps import utc_now
from health.measures import performance_lines
from health.measures.process import new_exposition, reported
from health.timing import DEFAULT, Timing
from jobs.figures.daily import daily_correlation_job
from jobs.figures.hourly import hourly_job
from jobs.measures.counts import JobsMeasures
from jobs.measures.lines import JobsLines
from jobs.metrics import JobsMetrics
from jobs.runtime.clock_steps import ClockSteps
from jobs.runtime.context import JobContext, Service, Timed
from jobs.runtime.elected import end_in_order, run_elected, stop_on_signals
from jobs.runtime.election import Election
from jobs.runtime.garbage import collect_rarely
from jobs.runtime.reports import Acting, JobsReport
from jobs.runtime.runs import Runner
from jobs.runtime.threads import LongLivedThread, ThreadEnded
from jobs.services import build_candles, fill_gaps, ingest, publish_alerts, write_books, write_prices, write_trades
from jobs.store.retention import retention_job
from ops import metrics_endpoint, startup

log = logging.getLogger("jobs.scheduler")

TABLE_SECONDS = 15.0  # between two writes of the table to the store
WAKE_SECONDS = 5.0  # between two rounds of the scheduler, also if no job is due
# The longest rounds: a statement and the wait for a connection may take `DB_TIMEOUT` each.
SERVICE_ROUND_SECONDS = 20.0
SCHEDULER_ROUND_SECONDS = 2 * WAKE_SECONDS

JOBS: tuple[Service | Timed, ...] = (
    Service("write_prices", write_prices),
    Service("write_trades", write_trades),
    Service("write_books", write_books),
    Service("roll_up", build_candles),
    Service("ingest", ingest),
    Service("fill_gaps", fill_gaps),
    Service("publish_alerts", publish_alerts),
    Timed("hourly_job", "every hour at :00", CronTrigger(minute=0, timezone=UTC), hourly_job),
    Timed("daily_correlation_job", "every day at 00:00", CronTrigger(hour=0, minute=0, timezone=UTC), daily_correlation_job, 86_400),
    Timed("retention", "every day at 00:05", CronTrigger(hour=0, minute=5, timezone=UTC), retention_job, 86_400),
)
TIMED = {job.id: job for job in JOBS if isinstance(job, Timed)}


def run(context: JobContext) -> None:
    """Run every job of the table until `context.stop` is set. Ingestion ends first, the writers
    last.

    If a thread ends although no stop was requested, all others are stopped and `ThreadEnded` is
    raised.
    """
    services = {job.id: _service_thread(job, context) for job in JOBS if isinstance(job, Service)}
    runners = [Runner(job, context) for job in TIMED.values()]
    scheduler, started = _scheduler(runners)
    timer = _thread(context, lambda stop: scheduler.start(), "scheduler", round_seconds=SCHEDULER_ROUND_SECONDS)
    catch_ups = [_catch_up_thread(each, context) for each in runners]
    watch = ClockSteps(context.clock, time.monotonic, lambda: plan_anew(scheduler, runners, context))
    steps = _thread(context, watch.run, "clock-steps", round_seconds=SERVICE_ROUND_SECONDS)
    for thread in (*services.values(), timer, steps, *catch_ups):
        thread.start()
    while not started.wait(STOP_POLL_SECONDS) and not context.stop.is_set():
        pass
    table_due = time.monotonic()
    while not context.stop.is_set():
        scheduler.wakeup()
        if time.monotonic() >= table_due:
            table_due = time.monotonic() + TABLE_SECONDS
            _write_table(scheduler, context)
        context.stop.wait(WAKE_SECONDS)
    log.info("jobs stop")
    if scheduler.running:
        scheduler.shutdown(wait=False)
    services["ingest"].join(6.0)
    context.stop_writing.set()
    deadline = time.monotonic() + 8.0
    for thread in (*services.values(), timer, steps, *catch_ups):
        thread.join(max(0.0, deadline - time.monotonic()))
    if context.failed.is_set():
        raise ThreadEnded("a thread of the jobs process ended although no stop was requested")


def _thread(
    context: JobContext,
    target: Callable[[threading.Event], object],
    name: str,
    *,
    may_return: bool = False,
    round_seconds: float | None = None,
) -> LongLivedThread:
    return LongLivedThread(
        target, name=name, stop=context.stop, on_failure=context.fail, may_return=lambda: may_return, round_seconds=round_seconds
    )


def _service_thread(job: Service, context: JobContext) -> LongLivedThread:
    """Return the thread of a service; it beats at each check of either stop event."""

    def run(stop: threading.Event) -> None:
        job.run(replace(context, stop=stop, stop_writing=BeatingStop(context.stop_writing, job.id)))

    return _thread(context, run, job.id, round_seconds=SERVICE_ROUND_SECONDS)


def _catch_up_thread(runner: Runner, context: JobContext) -> LongLivedThread:
    """Return the thread that catches up one job; it ends after the run."""
    return _thread(context, lambda stop: _catch_up(runner, context), f"catch-up-{runner.job.id}", may_return=True)


class BeatingScheduler(BlockingScheduler):  # type: ignore[misc]
    """A scheduler with a heartbeat in each round."""

    def _process_jobs(self) -> Any:
        HEARTBEATS.beat("scheduler")
        return super()._process_jobs()


def _scheduler(runners: Sequence[Runner]) -> tuple[BeatingScheduler, threading.Event]:
    """A scheduler of these jobs, and an event that is set as soon as the scheduler runs."""
    scheduler = BeatingScheduler(timezone=UTC, executors={"default": {"type": "threadpool", "max_workers": len(TIMED) + 1}})
    for runner in runners:
        job = runner.job
        scheduler.add_job(runner.run_due, job.trigger, id=job.id, max_instances=2, coalesce=True, misfire_grace_time=job.grace_seconds)
    started = threading.Event()
    scheduler.add_listener(lambda event: started.set(), EVENT_SCHEDULER_STARTED)
    return scheduler, started


def plan_anew(scheduler: BaseScheduler, runners: Sequence[Runner], context: JobContext) -> None:
    """After a step of the clock: compute the next run of each job, and run the last missed one."""
    for runner in runners:
        job = runner.job
        scheduler.modify_job(job.id, next_run_time=job.trigger.get_next_fire_time(None, context.clock()))
        if context.prepared.is_set():
            _thread(context, partial(_run_missed, runner), f"clock-step-{job.id}", may_return=True).start()


def _run_missed(runner: Runner, stop: threading.Event) -> None:
    runner.catch_up()


def _catch_up(runner: Runner, context: JobContext) -> None:
    """Run the job for its last missed time. On a first start, wait until the past is made
    (`prepared`).
    """
    while not context.prepared.wait(0.5):
        if context.stop.is_set():
            return
    runner.catch_up()


def _write_table(scheduler: BeatingScheduler, context: JobContext) -> None:
    """Write the table of jobs to the store, for REST."""
    rows = [(job.id, job.schedule, scheduler.get_job(job.id).next_run_time if job.id in TIMED else None) for job in JOBS]
    try:
        with context.store.transaction() as cursor:
            write_jobs(cursor, rows, context.clock())
    except StoreError as error:
        log.debug("the table of jobs is not written: %s", error)


def main(timing: Timing = DEFAULT) -> None:
    """Entry point of the process: settings, signals, report, election, and the table."""
    collect_rarely()
    stop = end_in_order()
    started = startup.start("jobs")
    # Sources of order books alone are another process's.
    config = replace(started.settings, sources=with_prices(started.settings.sources, has_books))
    acting, measures = Acting(), JobsMeasures()
    exposition = new_exposition("jobs", acting=lambda: acting.since is not None, stores=[started.store])
    metrics_endpoint.start(config, exposition)
    performance_lines.start(config, started.store, JobsLines(measures, lambda: acting.since is not None))

    def act(over: threading.Event) -> None:
        acting.begin(utc_now())
        try:
            run(JobContext(config, started.bus, started.store, utc_now, over, acting=acting, measures=measures))
        finally:
            acting.end()

    stop_on_signals(stop)
    _delete_old_reports(started.bus)
    triggers = {job.id: job.trigger for job in TIMED.values()}
    families = reported(exposition, config.metrics_scope)
    report = JobsReport(config, started.bus, started.store, utc_now, triggers, acting, timing, measures=measures, families=families)
    JobsMetrics(measures, acting, started.bus, report, TIMED, utc_now, limit=config.stream_max_length).register(exposition)
    leadership = Leadership(str(config.database_direct_url), timeout_ms=config.db_timeout_ms)
    run_elected(Election(leadership, started.bus, act), report, stop)


def _delete_old_reports(bus: Bus) -> None:
    try:
        bus.delete_old_reports()
    except BusError as error:
        log.debug("the reports of an earlier version are not deleted: %s", error)


if __name__ == "__main__":
    main()
