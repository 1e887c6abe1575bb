"""What an operator does by hand: `python manage.py up|migrate|status|replay FILE|backfill|job run NAME|job list`."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from config import embedded, logs, running, settings
from config.children import hold_stop_signals
from config.processes import Process, StartError, StopAsked, Supervisor
from config.running import Running
from config.settings import Settings, SettingsError, SourceSpec, mask_url
from db import migrate as migrations
from db.bus import Bus, BusError
from db.instruments import all_instruments
from db.intervals import INTERVALS
from db.job_runs import JobState, job_states
from db.postgres import Store, StoreError
from db.timestamps import format_time, parse_time
from jobs.backfill import Filler, retention
from jobs.history import request as backfills
from jobs.playback import play, symbols
from jobs.rest import Stopped
from jobs.runs import JobFailed, due_before, run_once
from jobs.scheduler import JOBS, TIMED
from jobs.sources.base import SourceError
from jobs.sources.replay import ReplaySource, count_ticks
from jobs.work import Timed, Work

ROOT = Path(__file__).resolve().parent


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Run and look after Tickwire.

    Settings come from the environment, over .env beside this file; .env.example lists them.
    """


@cli.command()
def up() -> None:
    """Start everything and stay in the foreground.

    Starts an embedded PostgreSQL and Redis under HUB_DATA_DIR where no server is configured, applies migrations, then starts
    the jobs, HUB_WORKERS hubs and the REST app, and restarts whichever dies. Prints one line beginning "ready:" once clients can be
    served. Ctrl-C or SIGTERM stops all of it in order.
    """
    chosen = _settings("up")
    folder = chosen.hub_data_dir
    with _plain_errors():
        running.prepare_data_dir(folder)
        with running.locked(folder) as lock:
            running.forget(folder)  # of an `up` that was killed
            hubs = [("WEBSOCKET", chosen.websocket_host, port) for port in chosen.hub_ports]
            running.check_ports(("API", chosen.api_host, chosen.api_port), *hubs)
            hold_stop_signals()
            try:
                with Supervisor(inherit=(lock,)) as supervisor:
                    system = _bring_up(chosen, supervisor)
                    system.write(folder)
                    click.echo(f"ready: REST {system.rest} hub {' '.join(_hub_urls(chosen))}")
                    supervisor.supervise(lambda pids: replace(system, pids=pids).write(folder))
            except StopAsked:
                pass
            finally:
                running.forget(folder)


def _bring_up(chosen: Settings, supervisor: Supervisor) -> Running:
    taken = (chosen.api_port, *chosen.hub_ports)
    database = None if chosen.database_url else embedded.postgres(chosen.hub_data_dir, avoid=taken)
    redis = None if chosen.redis_url else embedded.redis(chosen.hub_data_dir, avoid=taken)
    supervisor.start(*(replace(server, stop_rank=rank) for rank, server in ((2, redis), (3, database)) if server))
    database_url = database.url if database else str(chosen.database_url)
    redis_url = redis.url if redis else str(chosen.redis_url)
    migrations.apply(database_url)
    supervisor.start(*_processes(chosen, {**os.environ, "DATABASE_URL": database_url, "REDIS_URL": redis_url}))
    rest, hub = running.url_of(chosen.api_host, chosen.api_port), _hub_urls(chosen)[0]
    return Running(rest=rest, hub=hub, database_url=database_url, redis_url=redis_url, pids=supervisor.pids)


def _hub_urls(chosen: Settings) -> list[str]:
    return [running.url_of(chosen.websocket_host, port) for port in chosen.hub_ports]


def _processes(chosen: Settings, env: dict[str, str]) -> tuple[Process, ...]:
    """The long-running processes. The jobs stop first, so that nothing they still publish is lost on the way."""
    hubs = (
        Process(
            name="hub" if port == chosen.websocket_port else f"hub_{port - chosen.websocket_port + 1}",
            argv=(sys.executable, "-m", "gunicorn", "-c", "config/gunicorn/hub.py", "wsgi:hub()"),
            env={**env, "WEBSOCKET_PORT": str(port), "HUB_WORKERS": "1"},
            ready=partial(running.answers, url, "/hub/health"),
            stop_rank=1,
        )
        for port, url in zip(chosen.hub_ports, _hub_urls(chosen), strict=True)
    )
    rest = Process(
        name="rest",
        argv=(sys.executable, "-m", "gunicorn", "-c", "config/gunicorn/rest.py", "wsgi:rest()"),
        env=env,
        ready=partial(running.answers, running.url_of(chosen.api_host, chosen.api_port), "/health/live"),
        stop_rank=1,
    )
    return (Process(name="jobs", argv=(sys.executable, "-m", "jobs.scheduler"), env=env, stop_seconds=15), *hubs, rest)


@cli.command()
def migrate() -> None:
    """Bring the database's schema up to date.

    Uses the configured database; without one, the embedded database of the running system, or starts it for the moment.
    """
    chosen = _settings("migrate")
    with _plain_errors(), _database(chosen) as url:
        names = migrations.apply(url)
    for name in names:
        click.echo(f"applied {name}")
    click.echo(f"{mask_url(url)} is up to date")


@contextmanager
def _database(chosen: Settings) -> Iterator[str]:
    """The URL of the configured database, of the running embedded one, or of one that is started for the length of the block."""
    folder = chosen.hub_data_dir
    if chosen.database_url:
        yield chosen.database_url
        return
    running.prepare_data_dir(folder)
    try:
        with running.locked(folder) as lock:
            hold_stop_signals()
            with Supervisor(inherit=(lock,)) as supervisor:
                server = embedded.postgres(folder)
                supervisor.start(server)
                yield server.url
    except running.Busy:
        system = running.read(folder)
        if system is None:
            raise
        yield system.database_url


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for machines.")
def status(as_json: bool) -> None:
    """Show whether the system runs and how it is.

    Exits with 0 when every process is alive and healthy, else with 1.
    """
    folder = _settings("status").hub_data_dir
    system = running.read(folder)
    if system is None:
        click.echo(json.dumps({"running": False, "healthy": False}) if as_json else f"not running on {folder}")
        sys.exit(1)
    report = running.report(system, time.time())
    if as_json:
        click.echo(json.dumps(report))
    else:
        _show(report)
    sys.exit(0 if report["healthy"] else 1)


def _show(report: dict[str, Any]) -> None:
    console = Console()
    table = Table("process", "pid", "alive", "up for")
    for name, state in report["processes"].items():
        up_for = state["uptime_seconds"]
        table.add_row(
            name, str(state["pid"]), "[green]yes" if up_for is not None else "[red]no", "" if up_for is None else f"{up_for:.0f} s"
        )
    console.print(table)
    for name in ("rest", "hub", "database_url", "redis_url"):
        console.print(f"{name}: {report[name]}", highlight=False)
    health = {key: value for key, value in report["health"].items() if key not in ("timestamp", "sources")}
    console.print("health: " + ", ".join(_words(key, value) for key, value in health.items()), highlight=False, markup=False)
    for name, state in (report["health"].get("sources") or {}).items():
        detail = f": {state['detail']}" if state["detail"] else ""
        console.print(f"source {name}: {state['state']} since {state['since']}{detail}", highlight=False, markup=False)


def _words(name: str, value: Any) -> str:
    """`writer {"unstored": 3}` without the brackets."""
    return " ".join([name, *(f"{key} {each}" for key, each in value.items())] if isinstance(value, dict) else [name, str(value)])


@cli.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path))
@click.option("--speed", default="1", metavar="1|60|max", help="Times the recorded pace, 1 by default; max: as the bus takes it.")
@click.option("--loop", is_flag=True, help="Begin again at the end, until Ctrl-C.")
def replay(file: Path, speed: str, loop: bool) -> None:
    """Publish the recording FILE onto the bus of the running system.

    That is the one on HUB_DATA_DIR, else the configured servers (REDIS_URL, DATABASE_URL). Recordings are CSV, plain or .gz;
    data/recordings has some.
    """
    chosen = _settings("replay")
    done = 0
    with _plain_errors(), ExitStack() as stack:
        database_url, redis_url = _servers(chosen)
        bus = Bus(redis_url, _now, limit=chosen.stream_max_length)
        stack.callback(bus.close)
        bus.ping()
        source = ReplaySource(SourceSpec("replay", file, _speed(speed), loop), symbols(database_url))
        total = None if loop else count_ticks(file)
        bar = stack.enter_context(Progress(*Progress.get_default_columns(), "{task.completed} ticks", console=Console(stderr=True)))
        task = bar.add_task(file.name, total=total)

        def taken(ticks: int) -> None:
            nonlocal done
            done += ticks
            bar.advance(task, ticks)

        stack.callback(lambda: click.echo(f"published {done} ticks"))
        play(source, bus, taken=taken, clock=_now, stop=threading.Event())


class _Moment(click.ParamType[datetime]):
    """A point in time."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            return parse_time(value)
        except ValueError:
            self.fail(f"{value!r} is not a time like 2025-11-18 or 2025-11-18T12:34:56Z", param, ctx)


@cli.command()
@click.option("--source", type=click.Choice(backfills.SOURCES), required=True, help="oanda: candles; binance: trades; file: recordings.")
@click.option("--from", "start", type=_Moment(), metavar="TIME", help="The first moment, UTC unless it says otherwise.")
@click.option("--to", "end", type=_Moment(), metavar="TIME", help="The moment after the last. With --source file both may be left out.")
@click.option("--instrument", "instruments", multiple=True, metavar="NAME", help="EUR_USD, BTCUSDT; may be repeated. All by default.")
@click.option("--interval", "intervals", multiple=True, type=click.Choice(list(INTERVALS)), help="Of OANDA's candles. All by default.")
@click.option(
    "--file",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path),
    metavar="PATH",
    help="A recording, plain or .gz; may be repeated.",
)
@click.option("--again", is_flag=True, help="From the beginning, even where an earlier backfill got further.")
def backfill(again: bool, **options: Any) -> None:
    """Load the past into the store: OANDA's candles, Binance's trades, or recorded files.

    Can be stopped at any time; the same command goes on where it was. What is stored already is passed over. Files are OANDA's quotes and
    candles as CSV, candles as its API answers, and Binance's raw messages; data/recordings/README.md describes them.

    Uses the configured database; without one, the embedded database of the running system, or starts it for the moment.
    """
    chosen, stop = _settings("backfill"), threading.Event()
    request = backfills.Request(**options)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        with _plain_errors():
            backfills.check(request, chosen, _now())
            with _database(chosen) as url:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
                migrations.apply(url)
                _fill(request, chosen, url, stop, again=again)
    except backfills.BadOption as error:
        raise click.BadParameter(str(error), param_hint=error.option) from error
    except (Stopped, StopAsked):
        click.echo("stopped; what is stored stays, and the same command goes on from there", err=True)
        sys.exit(130)


def _fill(request: backfills.Request, chosen: Settings, url: str, stop: threading.Event, *, again: bool) -> None:
    """Store the request's parts, telling how it goes on stderr and what came of it on stdout."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with ExitStack() as stack:
        store = Store(url, pool_max=1, timeout_ms=chosen.db_timeout_ms, application="tickwire-backfill")
        stack.callback(store.close)
        with store.transaction() as cursor:
            instruments = all_instruments(cursor)
        notes = backfills.Notes()
        parts = backfills.parts(request, chosen, instruments, notes)
        bar = stack.enter_context(Progress(*columns, console=Console(stderr=True)))
        task = bar.add_task(request.source, total=len(parts))

        def say(text: str) -> None:
            bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

        filler = Filler(store, _now, stop, limits=retention(chosen, _now()), warn=say)
        stack.callback(lambda: click.echo(f"{request.source}: {filler.outcome}"))
        for number, part in enumerate(parts):
            moved = partial(_move, bar, task, part.title, number)
            try:
                filler.fill(part, again=again, moved=moved)
            except SourceError as error:
                if request.source != "file":
                    raise SourceError(
                        f"{part.title}: {error}; what is stored stays, and the same command goes on from there", fatal=True
                    ) from error
                notes.bad_file(part.title, str(error))
        for line in notes.sentences():
            say(line)
    if notes.failed:
        sys.exit(1)


def _move(bar: Progress, task: TaskID, title: str, before: int, share: float) -> None:
    bar.update(task, description=title, completed=before + share)


@cli.group()
def job() -> None:
    """Look at the timed jobs, or run one by hand."""


@job.command("list")
def list_jobs() -> None:
    """Show every job: when it runs, how its last run ended, when the next one is due.

    Of the running system, else of the configured servers.
    """
    chosen = _settings("job")
    with _plain_errors(), closing(_store(chosen, _servers(chosen)[0])) as store, store.transaction() as cursor:
        states = {state.id: state for state in job_states(cursor)}
    table = Table("job", "schedule", "last run for", "outcome", "rows", "next run", box=None)
    for each in JOBS:
        schedule = each.schedule if isinstance(each, Timed) else "as long as the process"
        table.add_row(each.id, schedule, *_last_run(states.get(each.id)), _minute(getattr(states.get(each.id), "next_run", None)))
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
@click.option(
    "--as-of", type=_Moment(), metavar="TIME", help="The moment to run it for, of those of its schedule. The last one by default."
)
def run_job(name: str, as_of: datetime | None) -> None:
    """Run the timed job NAME once, now, and wait for its end.

    Against the running system, else the configured servers. Beside the jobs process nothing is done twice: rows are replaced, a moment that
    was judged for alerts is not judged again, and no price is moved back.
    """
    chosen, timed, now = _settings("job"), TIMED[name], _now()
    moment = _moment_due(timed, as_of or now, now, exactly=as_of is not None)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    began = time.monotonic()
    with _plain_errors(), ExitStack() as stack:
        database_url, redis_url = _servers(chosen)
        store = stack.enter_context(closing(_store(chosen, database_url)))
        bus = stack.enter_context(closing(Bus(redis_url, _now, limit=chosen.stream_max_length)))
        store.ping()
        bus.ping()
        try:
            rows = run_once(replace(timed, retries=0), Work(chosen, bus, store, _now, stop), moment)
        except JobFailed as error:
            raise click.ClickException(f"{name} for {format_time(moment)} failed: {error}") from error
    click.echo(f"{name} for {format_time(moment)}: {rows} rows in {time.monotonic() - began:.1f} s")


def _moment_due(timed: Timed, moment: datetime, now: datetime, *, exactly: bool) -> datetime:
    """The last moment of the job's schedule up to `moment`, which has to be one itself where `exactly` is true."""
    due = due_before(timed.trigger, moment)
    if moment > now:
        raise click.BadParameter(f"{format_time(moment)} is yet to come", param_hint="--as-of")
    if due is None or (exactly and due != moment):
        before = f": {format_time(due)} was the last before that" if due else ""
        raise click.BadParameter(f"{timed.id} runs {timed.schedule}, UTC, and not for {format_time(moment)}{before}", param_hint="--as-of")
    return due


def _store(chosen: Settings, url: str) -> Store:
    return Store(url, pool_max=2, timeout_ms=chosen.db_timeout_ms, application="tickwire-job")


def _speed(text: str) -> float | None:
    try:
        return settings.parse_speed(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--speed") from error


def _servers(chosen: Settings) -> tuple[str, str]:
    """URLs of database and bus: of the running system, else as configured."""
    system = running.read(chosen.hub_data_dir)
    if system is not None:
        return system.database_url, system.redis_url
    if chosen.database_url is None or chosen.redis_url is None:
        raise running.RunError(f"nothing runs on {chosen.hub_data_dir}: start it with `make run`, or set DATABASE_URL and REDIS_URL")
    return chosen.database_url, chosen.redis_url


def _now() -> datetime:
    return datetime.now(UTC)


def _settings(service: str) -> Settings:
    """Settings of the checkout this file is in, wherever it was called from, and logs on stderr."""
    os.chdir(ROOT)
    try:
        chosen = settings.load()
        logs.configure(service, level=chosen.log_level, style=chosen.log_format, file=chosen.log_file)
    except SettingsError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    except OSError as error:
        click.echo(f"invalid settings:\n  LOG_FILE: cannot be written: {error.strerror}", err=True)
        sys.exit(2)
    return chosen


@contextmanager
def _plain_errors() -> Iterator[None]:
    """What can be expected to go wrong is told in a sentence, without a stack trace."""
    try:
        yield
    except (running.RunError, StartError, StoreError, BusError, SourceError, OSError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    cli()
