"""The jobs process, `python -m jobs.scheduler`: the table of all jobs, and the timed ones."""

from __future__ import annotations

if __name__ == "__main__" and __spec__ is None:  # `python jobs/scheduler.py`, which finds no module of ours
    import os
    import sys

    os.chdir(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    os.execv(sys.executable, [sys.executable, "-m", "jobs.scheduler", *sys.argv[1:]])  # noqa: S606

if __name__ == "__main__":
    import gc

    gc.disable()  # modules are no garbage, and each search visits all of them

import logging
import os
import socket
import sys
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

from config.loops import HEARTBEATS, UNFIT_CODE
from config.pacing import STOP_POLL_SECONDS, Stopped
from config.process.duties import PUBLISH_ALERTS, ROLL_UP, TIMED_JOBS, duties_of_settings, may_take
from config.venues import with_prices
from db.bus import Bus, BusError
from db.duties import DutySession
from db.job_runs import write_jobs
from db.postgres import StoreError
from db.scenarios.files import has_books
from db.timestamps import utc_now
from health.measures import performance_lines
from health.measures.process import new_exposition, reported
from health.timing import DEFAULT, Timing
from jobs.duties.keeper import Keeper
from jobs.duties.neighbours import Neighbours
from jobs.duties.works import ROUND_SECONDS, JobWorks, Services
from jobs.feeding import Feeding
from jobs.figures.daily import daily_correlation_job
from jobs.figures.hourly import hourly_job
from jobs.measures.counts import JobsMeasures
from jobs.measures.lines import JobsLines
from jobs.metrics import JobsMetrics
from jobs.runtime.clock_steps import ClockSteps
from jobs.runtime.context import JobContext, Service, Timed
from jobs.runtime.elected import end_in_order, run_elected, stop_on_signals
from jobs.runtime.garbage import collect_rarely
from jobs.runtime.reports import Acting, JobsReport
from jobs.runtime.runs import Runner
from jobs.runtime.threads import LongLivedThread
from jobs.services import build_candles, fill_gaps, publish_alerts, write_books, write_prices, write_trades
from jobs.store.retention import retention_job
from ops import metrics_endpoint, startup

log = logging.getLogger("jobs.scheduler")

TABLE_SECONDS = 15.0  # between two writes of the table to the store
WAKE_SECONDS = 5.0  # between two rounds of the scheduler, also if no job is due
SCHEDULER_ROUND_SECONDS = 2 * WAKE_SECONDS  # the longest one
END_SECONDS = 5.0  # for the threads of the timed jobs

JOBS: tuple[Service | Timed, ...] = (
    *(Service(name) for name in ("write_prices", "write_trades", "write_books", "roll_up", "ingest", "fill_gaps", "publish_alerts")),
    Timed("hourly_job", "every hour at :00", CronTrigger(minute=0, timezone=UTC), hourly_job),
    Timed("daily_correlation_job", "every day at 00:00", CronTrigger(hour=0, minute=0, timezone=UTC), daily_correlation_job, 86_400),
    Timed("retention", "every day at 00:05", CronTrigger(hour=0, minute=5, timezone=UTC), retention_job, 86_400),
)
TIMED = {job.id: job for job in JOBS if isinstance(job, Timed)}


def services(feeding: Feeding) -> Services:
    """The loops of all duties but the sources."""
    return Services(
        writers={"write_prices": write_prices, "write_trades": write_trades, "write_books": write_books},
        gaps=fill_gaps,
        others={ROLL_UP: build_candles, PUBLISH_ALERTS: publish_alerts, TIMED_JOBS: partial(run_timed, feeding)},
    )


def run_timed(feeding: Feeding, context: JobContext) -> None:
    """Run the timed jobs of the table until `context.stop` is set. Meanwhile this process leads
    `feeding`.
    """
    context = replace(context, prepared=threading.Event())
    runners = [Runner(job, context) for job in TIMED.values()]
    scheduler, started = _scheduler(runners, context)
    watch = ClockSteps(context.clock, time.monotonic, lambda: plan_anew(scheduler, runners, context))
    threads = [
        _thread(context, partial(_lead, feeding, context), "lead", may_return=True),
        _thread(context, lambda stop: scheduler.start(), "scheduler", round_seconds=SCHEDULER_ROUND_SECONDS),
        _thread(context, watch.run, "clock-steps", round_seconds=ROUND_SECONDS),
        *(_catch_up_thread(each, context) for each in runners),
    ]
    for thread in threads:
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
    feeding.follow()
    if scheduler.running:
        scheduler.shutdown(wait=False)
    deadline = time.monotonic() + END_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def _lead(feeding: Feeding, context: JobContext, stop: threading.Event) -> None:
    """Lead, and let the missed runs begin once the past of a first start is made."""
    try:
        feeding.lead(stop)
    except Stopped:
        return
    context.prepared.set()


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


def _catch_up_thread(runner: Runner, context: JobContext) -> LongLivedThread:
    """Return the thread that catches up one job; it ends after the run."""
    return _thread(context, lambda stop: _catch_up(runner, context), f"catch-up-{runner.job.id}", may_return=True)


class BeatingScheduler(BlockingScheduler):  # type: ignore[misc]
    """A scheduler with a heartbeat in each round."""

    def _process_jobs(self) -> Any:
        HEARTBEATS.beat("scheduler")
        return super()._process_jobs()


def _scheduler(runners: Sequence[Runner], context: JobContext) -> tuple[BeatingScheduler, threading.Event]:
    """A scheduler of these jobs, and an event that is set as soon as the scheduler runs."""
    scheduler = BeatingScheduler(timezone=UTC, executors={"default": {"type": "threadpool", "max_workers": len(TIMED) + 1}})
    for runner in runners:
        job, due = runner.job, partial(_run_due, runner, context)
        scheduler.add_job(due, job.trigger, id=job.id, max_instances=2, coalesce=True, misfire_grace_time=job.grace_seconds)
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


def _run_due(runner: Runner, context: JobContext) -> None:
    """Run the job at its time, unless the past of a first start is being made.

    The run would succeed without candles, and `_catch_up` would not repeat it.
    """
    if context.prepared.is_set():
        runner.run_due()


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
    """Entry point of the process: settings, signals, report, and its share of the duties."""
    collect_rarely()
    stop = end_in_order()
    started = startup.start("jobs")
    # Sources of order books alone are another process's.
    config = replace(started.settings, sources=with_prices(started.settings.sources, has_books))
    duties = duties_of_settings(config, has_books)
    _check_globs(config.jobs_duties, duties)
    acting, measures = Acting(known=duties, globs=config.jobs_duties), JobsMeasures()
    exposition = new_exposition("jobs", acting=lambda: acting.since is not None, exports=lambda: bool(acting.held), stores=[started.store])
    metrics_endpoint.start(config, exposition)
    performance_lines.start(config, started.store, JobsLines(measures, lambda: bool(acting.held)))
    stop_on_signals(stop)
    _delete_old_keys(started.bus)
    triggers = {job.id: job.trigger for job in TIMED.values()}
    families = reported(exposition, config.metrics_scope)
    report = JobsReport(config, started.bus, started.store, utc_now, triggers, acting, timing, measures=measures, families=families)
    JobsMetrics(measures, acting, started.bus, report, TIMED, utc_now, limit=config.stream_max_length).register(exposition)
    context = JobContext(config, started.bus, started.store, utc_now, acting=acting, measures=measures)
    feeding = Feeding(context)
    keeper = Keeper(
        DutySession(str(config.database_direct_url), timeout_ms=config.db_timeout_ms, poll_seconds=config.jobs_poll_seconds),
        JobWorks(context, feeding, services(feeding)),
        duties,
        member=f"{socket.gethostname()}/{os.getpid()}",
        failed=context.failed,
        globs=config.jobs_duties,
        others=Neighbours(started.bus.with_timeout(timing.limit), acting, context.source_events, utc_now),
        changed=lambda held, backend: acting.hold(held, backend, utc_now()),
        poll_seconds=config.jobs_poll_seconds,
    )
    run_elected(keeper, report, stop)


def _check_globs(globs: Sequence[str], duties: Sequence[str]) -> None:
    """Exit with 2 if one of JOBS_DUTIES matches no duty."""
    for glob in globs:
        if not any(may_take([glob], duty) for duty in duties):
            log.error("JOBS_DUTIES: %r matches no duty: correct it, or remove it", glob, extra={"duties": list(duties)})
            sys.exit(UNFIT_CODE)


def _delete_old_keys(bus: Bus) -> None:
    try:
        bus.delete_old_keys()
    except BusError as error:
        log.debug("the keys of an earlier version are not deleted: %s", error)


if __name__ == "__main__":
    main()
