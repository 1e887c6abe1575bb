"""`manage.py replay` and `backfill`: recordings and history, onto the bus and into the store."""

from __future__ import annotations

import dataclasses
import signal
import sys
import threading
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from cli.common import Moment, chosen_settings, database, migrate_database, plain_errors, servers, stopped_by_signals
from cli.imports import Output, command_errors, format_option, load, notation_options
from config import settings
from config.settings import Settings, SourceSpec
from config.venues import VENUES
from db.instruments import all_instruments
from db.intervals import INTERVALS
from db.postgres import Store
from db.timestamps import utc_now
from jobs.backfill import request as backfills
from jobs.backfill.fill import Filler, retention
from jobs.backfill.report import Notes
from jobs.feeds.base import SourceError
from jobs.feeds.files.formats.columns import parse_columns
from jobs.feeds.files.formats.model import BadOptionValue, Options
from jobs.feeds.files.playback import calendars_of_instruments, play
from jobs.feeds.files.recordings import count_ticks
from jobs.feeds.files.replay import ReplaySource
from ops import startup

_SOURCE_HELP = "".join(f"{venue.name}: {venue.history}; " for venue in VENUES.values() if venue.history) + "file: recordings."


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path))
@click.option("--speed", default="1", metavar="1|60|max", help="Times the recorded pace, 1 by default; max: as fast as the bus accepts.")
@click.option("--loop", is_flag=True, help="Begin again at the end, until Ctrl-C.")
@format_option
@click.option("--instrument", metavar="NAME", help="The instrument of all quotes; in a file with a column for it, the one to keep.")
@notation_options
def replay(file: Path, speed: str, loop: bool, format_name: str, columns: str | None, **others: Any) -> None:
    """Publish the recording FILE onto the bus of the running system.

    Without a running system on HUB_DATA_DIR, the configured servers are used (REDIS_URL,
    DATABASE_URL). Recordings have quotes in any format of docs/import.md, plain, gzip or zip;
    data/recordings has some. Lines that cannot be used are left out and reported. The exit code is
    1 if the recording is refused or damaged.
    """
    chosen = chosen_settings("replay")
    try:
        options = Options(format=format_name, columns=parse_columns(columns) if columns else {}, **others)
    except BadOptionValue as error:
        raise click.BadParameter(str(error), param_hint=error.option) from error
    done = 0
    with plain_errors(), ExitStack() as stack:
        database_url, redis_url = servers(chosen)
        bus = startup.open_bus(chosen, redis_url)
        stack.callback(bus.close)
        bus.ping()
        calendars = calendars_of_instruments(database_url)
        source = ReplaySource(SourceSpec("replay", file, _speed(speed), loop), calendars, clock=utc_now, options=options)
        total = None if loop else count_ticks(file, calendars, options)

        def report() -> None:
            click.echo(f"published {done} ticks")
            if source.refusals:
                click.echo(f"{file.name}: {source.refusals}", err=True)

        stack.callback(report)
        bar = stack.enter_context(Progress(*Progress.get_default_columns(), "{task.completed} ticks", console=Console(stderr=True)))
        progress_task = bar.add_task(file.name, total=total)

        def taken(ticks: int) -> None:
            nonlocal done
            done += ticks
            bar.advance(progress_task, ticks)

        play(source, bus, calendars, taken=taken, clock=utc_now, stop=threading.Event())


@click.command()
@click.option("--source", type=click.Choice(backfills.SOURCES), required=True, help=_SOURCE_HELP)
@click.option("--from", "start", type=Moment(), metavar="TIME", help="The first moment; UTC unless it has an offset.")
@click.option("--to", "end", type=Moment(), metavar="TIME", help="The moment after the last. With --source file both may be left out.")
@click.option("--instrument", "instruments", multiple=True, metavar="NAME", help="EUR_USD, BTCUSDT; may be repeated. All by default.")
@click.option("--interval", "intervals", multiple=True, type=click.Choice(list(INTERVALS)), help="Of OANDA's candles. All by default.")
@click.option(
    "--file",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path),
    metavar="PATH",
    help="A recording, plain or gzipped; may be repeated.",
)
@click.option("--again", is_flag=True, help="From the beginning, even if an earlier backfill got further.")
@click.option("--replace", is_flag=True, help="From the beginning, and instead of stored records; of quotes, those from files and replays.")
def backfill(again: bool, replace: bool, **options: Any) -> None:
    """Load the past into the store: OANDA's candles, Binance's trades, or recorded files.

    The command can be stopped at any time; the same command continues from there. Stored rows are
    skipped. `--source file` is an alias of `manage.py import`, which has more options.

    Records that cannot be used are left out and reported. The exit code is 1 if a file or a part
    was refused, damaged or ended early, or if records conflict with stored ones.

    Uses the configured database, or else the embedded database of the running system. If no system
    runs, the embedded database is started for this command.
    """
    request = backfills.Request(**options)
    with command_errors():
        chosen, stop = chosen_settings("backfill"), stopped_by_signals()
        backfills.check(request, chosen, utc_now())
        with database(chosen) as url:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
            migrate_database("backfill", chosen, url)
            with closing(startup.open_store(chosen, "backfill", url=url, pool_max=1)) as store:
                good = (_load if request.files else _fill)(request, chosen, store, stop, again=again, replace=replace)
    if not good:
        sys.exit(1)


def _load(request: backfills.Request, chosen: Settings, store: Store, stop: threading.Event, *, again: bool, replace: bool) -> bool:
    """Import the files of the request, as `manage.py import` does."""
    with store.transaction() as cursor:
        wanted = backfills.import_request(request, all_instruments(cursor))
    return load(request.files, wanted, chosen, store, stop, Output(as_json=False), again=again, replace=replace)


def _fill(request: backfills.Request, chosen: Settings, store: Store, stop: threading.Event, *, again: bool, replace: bool) -> bool:
    """Store the request's history, with progress on stderr and the result on stdout.

    Returns False if there were conflicts.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    output, notes = Output(as_json=False), Notes()
    with store.transaction() as cursor:
        known = all_instruments(cursor, disabled=True)
    with ExitStack() as stack:
        disabled = {each.symbol for each in known if not each.enabled}
        listed = tuple(symbol for symbol in chosen.binance_symbols if symbol.upper() not in disabled)
        wanted = dataclasses.replace(chosen, binance_symbols=listed)
        tasks = backfills.tasks(request, wanted, [each for each in known if each.enabled], notes, utc_now)
        limits = retention(chosen, utc_now())
        filler = Filler(store, utc_now, stop, limits=limits, warn=output.say, on_conflicts=notes.conflicting)
        stack.callback(output.report, notes)
        stack.callback(lambda: click.echo(f"{request.source}: {filler.outcome}"))
        bar = stack.enter_context(Progress(*columns, console=output.console))
        progress_task = bar.add_task(request.source, total=len(tasks))
        for number, task in enumerate(tasks):
            moved = partial(_move, bar, progress_task, task.title, number)
            try:
                filler.fill(task, again=again, replace=replace, moved=moved)
            except SourceError as error:
                raise SourceError(
                    f"{task.title}: {error.explanation}; what is stored stays, and the same command goes on from there", fatal=True
                ) from error
    return not notes.failed


def _move(bar: Progress, task: TaskID, title: str, before: int, share: float) -> None:
    bar.update(task, description=title, completed=before + share)


def _speed(text: str) -> float | None:
    try:
        return settings.parse_speed(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--speed") from error
