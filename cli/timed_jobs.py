"""`manage.py job list`, `job run` and `duties`."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.table import Table

from cli.common import Moment, chosen_settings, plain_errors, servers, stopped_by_signals
from config.process.duties import duties_of_settings
from db.job_runs import JobState, job_states
from db.scenarios.files import has_books
from db.timestamps import format_time, utc_now
from health.duties import FRESH, held_duties, held_wrongly
from health.reports import read_processes
from health.system.state import living_reports
from jobs.runtime.context import JobContext, Timed
from jobs.runtime.runs import JobFailed, due_before, run_once
from jobs.scheduler import JOBS, TIMED
from ops import startup


@click.group()
def job() -> None:
    """Show the timed jobs, or run one by hand."""


@job.command("list")
def list_jobs() -> None:
    """Show every job: its schedule, the outcome of its last run, and its next run.

    Reads the running system, or else the configured servers.
    """
    chosen = chosen_settings("job")
    with (
        plain_errors(),
        closing(startup.open_store(chosen, "job", url=servers(chosen)[0], pool_max=2)) as store,
        store.transaction() as cursor,
    ):
        states = {state.id: state for state in job_states(cursor)}
    table = Table("job", "schedule", "last run for", "outcome", "rows", "next run", box=None)
    for each in JOBS:
        table.add_row(each.id, each.schedule, *_last_run(states.get(each.id)), _minute(getattr(states.get(each.id), "next_run", None)))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _last_run(state: JobState | None) -> tuple[str, str, str]:
    run = state.last_run if state else None
    if run is None:
        return "", "", ""
    return _minute(run.as_of), f"{run.outcome}: {run.error}" if run.error else run.outcome, "" if run.rows is None else str(run.rows)


def _minute(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"


@job.command("run")
@click.argument("name", type=click.Choice(list(TIMED)), metavar="NAME")
@click.option("--as-of", type=Moment(), metavar="TIME", help="A time of its schedule to run it for; the last one by default.")
def run_job(name: str, as_of: datetime | None) -> None:
    """Run the timed job NAME once, now, and wait for its end.

    Uses the running system, or else the configured servers. It is safe beside the jobs process:
    rows are replaced, a time is not judged twice for alerts, and no price is moved back.
    """
    chosen, timed = chosen_settings("job"), TIMED[name]
    moment = _moment_due(timed, as_of, utc_now())
    stop = stopped_by_signals()
    began = time.monotonic()
    with plain_errors(), ExitStack() as stack:
        database_url, redis_url = servers(chosen)
        store = stack.enter_context(closing(startup.open_store(chosen, "job", url=database_url, pool_max=2)))
        bus = stack.enter_context(closing(startup.open_bus(chosen, redis_url)))
        store.ping()
        bus.ping()
        try:
            rows = run_once(replace(timed, retries=0), JobContext(chosen, bus, store, utc_now, stop), moment)
        except JobFailed as error:
            raise click.ClickException(f"{name} for {format_time(moment)} failed: {error}") from error
    click.echo(f"{name} for {format_time(moment)}: {rows} rows in {time.monotonic() - began:.1f} s")


def _moment_due(timed: Timed, as_of: datetime | None, present: datetime) -> datetime:
    """The last time up to now at which the job was due, or `as_of`, which must be such a time."""
    moment = as_of or present
    due = due_before(timed.trigger, moment)
    if moment > present:
        raise click.BadParameter(f"{format_time(moment)} is yet to come", param_hint="--as-of")
    if due is None or as_of not in (None, due):
        before = f": {format_time(due)} was the last before that" if due else ""
        raise click.BadParameter(f"{timed.id} runs {timed.schedule}, UTC, and not for {format_time(moment)}{before}", param_hint="--as-of")
    return due


@click.command()
def duties() -> None:
    """Show the duties of the jobs processes: sources, writers, gap fillers, timed jobs.

    Exits with 1 if nobody has one of them, or two processes have it. Reads the reports in Redis of
    the running system, or else of the configured servers. A process reports a change within a
    second, and a killed one is shown for 5 s.
    """
    chosen, now = chosen_settings("job"), utc_now()
    with plain_errors(), closing(startup.open_bus(chosen, servers(chosen)[1])) as bus:
        processes = read_processes(bus, now, "jobs").expected()
    rows = held_duties(living_reports(processes, "jobs", FRESH), duties_of_settings(chosen, has_books))
    table = Table("duty", "process", "since", box=None)
    for row in rows:
        table.add_row(row.duty, row.process or "nobody", row.since or "")
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    if wrong := held_wrongly(rows):
        texts = (f"{duty} by {number or 'nobody'}" for duty, number in wrong.items())
        raise click.ClickException(f"not held by one process: {', '.join(texts)}")
