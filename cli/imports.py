"""`manage.py import`: files of the operator into the store."""

from __future__ import annotations

import json
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from cli.common import Moment, chosen_settings, database, migrate_database, plain_errors, stopped_by_signals
from config.pacing import Stopped
from config.settings import Settings
from db.instruments import all_instruments, calendars_of
from db.intervals import INTERVALS
from db.postgres import Store, StoreError
from db.reference import first_calendars, has_calendars
from db.timestamps import utc_now
from jobs.backfill.file_tasks import Selection
from jobs.backfill.imports import FileResult, Importer, ImportRequest, Preview
from jobs.backfill.report import Notes
from jobs.feeds.files.formats.columns import parse_columns
from jobs.feeds.files.formats.detect import NAMES
from jobs.feeds.files.formats.model import BadOptionValue, Options
from ops import running, startup
from ops.supervisor import StopAsked

STOPPED = "stopped; what is stored stays, and the same command goes on from there"
_Command = TypeVar("_Command", bound=Callable[..., Any])
_SOURCE = re.compile(r"[a-z0-9_.-]{1,32}", re.ASCII)


format_option = click.option("--format", "format_name", type=click.Choice(NAMES), default="auto", help="auto: the first format that fits.")


_NOTATION_OPTIONS = (
    click.option("--date-format", metavar="FORMAT", help="iso, unix, ymd, dmy, mdy, or %Y %m %d %H %M %S with literal characters."),
    click.option("--columns", metavar="FIELD=COLUMN,…", help="time=Date+Time,bid=Bid; #3 is the third column of a file without header."),
    click.option("--timezone", metavar="ZONE", help="Of local times: Europe/Athens, UTC, or a shifted zone, America/New_York+07:00."),
)


def notation_options(command: _Command) -> _Command:
    """Add the options for the notation of a file: times and columns."""
    for option in _NOTATION_OPTIONS:
        command = option(command)
    return command


class Output:
    """Results on stdout, as lines or as JSON objects; everything else on stderr."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self.console = Console(stderr=True)

    def say(self, text: str) -> None:
        """Print a sentence for the operator."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def results(self, results: Sequence[FileResult]) -> None:
        """Print the results of files."""
        for result in results:
            click.echo(json.dumps(result.document()) if self._as_json else str(result))

    def refused(self, name: str, notes: Notes) -> None:
        """Print an object for a refused file. Without `--json`, `report` has the reason."""
        if self._as_json:
            click.echo(json.dumps({**FileResult(name).document(), "refused": notes.reason(name)}))

    def preview(self, found: Preview) -> None:
        """Print the preview of one file."""
        if self._as_json:
            self.results([found.result])
        else:
            click.echo("\n".join(found.lines()))

    def report(self, notes: Notes) -> None:
        """Print faults and conflicts."""
        for line in notes.sentences():
            self.say(line)

    def progress(self, stack: ExitStack, file: Path) -> Callable[[float], None]:
        """Show a progress bar by bytes read; the function moves it to a share (0 … 1)."""
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        bar, size = stack.enter_context(Progress(*columns, console=self.console)), file.stat().st_size
        task = bar.add_task(file.name, total=size)
        return lambda share: bar.update(task, completed=round(share * size))


@click.command("import")
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE…", type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path)
)
@format_option
@click.option("--instrument", metavar="NAME", help="The instrument of all records; in a file with a column for it, the one to keep.")
@click.option("--kind", type=click.Choice(("ticks", "candles")), help="For a file whose columns fit both.")
@click.option("--interval", type=click.Choice(list(INTERVALS)), help="Of candles, if neither the file's name nor its format has it.")
@notation_options
@click.option("--source", metavar="NAME", help="Stored as import:NAME; by default the format's vendor.")
@click.option("--from", "start", type=Moment(), metavar="TIME", help="The first moment; UTC unless it has an offset.")
@click.option("--to", "end", type=Moment(), metavar="TIME", help="The moment after the last.")
@click.option("--dry-run", is_flag=True, help="Show the format and three records; write nothing, start no server.")
@click.option("--replace", is_flag=True, help="Take the file's records instead of stored ones that came from files.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per file on stdout.")
def import_files(files: tuple[Path, ...], dry_run: bool, replace: bool, as_json: bool, **options: Any) -> None:
    """Load FILE… into the store: ticks, trades or candles of other vendors, plain, gzip or zip.

    The format is recognised by the header or the shape of the lines; docs/import.md has all
    formats. Rows that are stored already are skipped. The command can be stopped at any time; the
    same command continues from there.

    Records that cannot be used are left out and reported. The exit code is 1 if a file was refused,
    damaged or ended early, or if records conflict with stored ones.

    Uses the configured database, or else the embedded database of the running system. If no system
    runs, the embedded database is started for this command.
    """
    with command_errors():
        request, chosen = _request(**options), chosen_settings("import")
        stop, output = stopped_by_signals(), Output(as_json=as_json)
        if dry_run:
            good = preview(files, request, chosen, stop, output)
        else:
            with database(chosen) as url:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
                migrate_database("import", chosen, url)
                with closing(startup.open_store(chosen, "import", url=url, pool_max=1)) as store:
                    good = load(files, request, chosen, store, stop, output, replace=replace)
    if not good:
        sys.exit(1)


def load(
    files: Sequence[Path],
    request: ImportRequest,
    chosen: Settings,
    store: Store,
    stop: threading.Event,
    output: Output,
    *,
    again: bool = False,
    replace: bool = False,
) -> bool:
    """Store the files, with progress and reports.

    Returns False if a file was refused or damaged, or has conflicts. Raises `Stopped` and
    `StoreError`.
    """
    notes = Notes()
    importer = Importer(_calendars(store), request, notes, utc_now, stop)
    with ExitStack() as at_end:
        at_end.callback(output.report, notes)
        for file in files:
            if stop.is_set():
                raise Stopped
            recording = importer.opened(file)
            if recording is None:
                output.refused(importer.title(file), notes)
                continue
            results: list[FileResult] = []
            with ExitStack() as stack:
                stack.callback(output.results, results)
                moved = output.progress(stack, file)
                importer.stored(recording, store, chosen, warn=output.say, done=results.append, moved=moved, again=again, replace=replace)
    return not notes.failed


def preview(files: Sequence[Path], request: ImportRequest, chosen: Settings, stop: threading.Event, output: Output) -> bool:
    """Show format, first records and span of the files; returns False if one was refused.

    Nothing is written, and no server is started.
    """
    notes = Notes()
    importer = Importer(_known_calendars(chosen), request, notes, utc_now, stop)
    with ExitStack() as at_end:
        at_end.callback(output.report, notes)
        for file in files:
            recording = importer.opened(file)
            if recording is None:
                output.refused(importer.title(file), notes)
            else:
                output.preview(importer.previewed(recording))
    return not notes.failed


@contextmanager
def command_errors() -> Iterator[None]:
    """Exit with 2 for a bad value of an option, and with 130 after a signal."""
    try:
        with plain_errors():
            yield
    except BadOptionValue as error:
        raise click.BadParameter(str(error), param_hint=error.option) from error
    except (Stopped, StopAsked):
        click.echo(STOPPED, err=True)
        sys.exit(130)


def _request(
    *,
    format_name: str,
    instrument: str | None,
    kind: Any,
    interval: str | None,
    timezone: str | None,
    columns: str | None,
    date_format: str | None,
    source: str | None,
    start: datetime | None,
    end: datetime | None,
) -> ImportRequest:
    """The request of the options. Raises `BadOptionValue`."""
    if source is not None and not _SOURCE.fullmatch(source):
        raise BadOptionValue("--source", f"{source!r} is not a name of at most 32 characters of a-z 0-9 _ . -")
    if start and end and start >= end:
        raise BadOptionValue("--from", "must be before --to")
    places = {} if columns is None else parse_columns(columns)
    name = None if instrument is None else instrument.upper()
    options = Options(format_name, kind, interval, timezone, places, date_format, name)
    return ImportRequest(options, source, Selection(start=start, end=end))


def _calendars(store: Store) -> dict[str, str]:
    with store.transaction() as cursor:
        return calendars_of(all_instruments(cursor))


def _known_calendars(chosen: Settings) -> dict[str, str]:
    """symbol -> calendar in the configured or running database, else those of the migrations."""
    system = running.read(chosen.hub_data_dir)
    url = chosen.database_direct_url or (system.database_url if system else None)
    if url is None:
        return first_calendars()
    with closing(startup.open_store(chosen, "import", url=url, pool_max=1)) as store:
        try:
            with store.transaction() as cursor:
                migrated = has_calendars(cursor)
            return _calendars(store) if migrated else first_calendars()
        except StoreError:
            if chosen.database_url:
                raise
            return first_calendars()  # `run.json` of a system that was killed
