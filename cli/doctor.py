"""`manage.py doctor`: examine a system and name the remedy of each fault."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from cli.common import API_KEY, ROOT
from config import VERSION
from config import settings as settings_module
from config.logs import setup as logs
from config.process.variables import other_secrets
from config.secrets import SCRUBBER, scrub
from config.settings import SettingsError
from db.timestamps import format_time, utc_now
from jobs.store.retention import retention_days
from ops.doctor.examine import examine, without_settings
from ops.doctor.results import EXIT_CODES, FAILURE, OK, STATUSES, UNKNOWN, WARNING, Result, overall
from ops.doctor.subject import subject_of

_COLOURS = {OK: "green", UNKNOWN: "cyan", WARNING: "yellow", FAILURE: "red"}
_ARROW = "→ "
_LEAST_WIDTH = 40  # of the text, in a narrow terminal


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--backup",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Check the backup in DIR too, or the newest one of the backups in DIR.",
)
def doctor(as_json: bool, backup: Path | None) -> None:
    """Examine the system, and name the remedy of each fault.

    It reads only, works if parts are down, and ends within 30 s. It examines the running system of
    HUB_DATA_DIR, or else the servers of the settings. Exits with 0 if all is well, with 1 for
    warnings and with 2 for a failure. If REST needs a key, the environment variable
    TICKWIRE_API_KEY has one with the scopes `read` and `observe`.
    """
    folder = None if backup is None else backup.resolve()  # before the directory changes
    os.chdir(ROOT)
    results = _results(folder)
    if as_json:
        click.echo(json.dumps(report(results), ensure_ascii=False))
    else:
        _show(results)
    sys.exit(EXIT_CODES[overall(results)])


def _results(backup: Path | None) -> list[Result]:
    """Examine the system with the settings of `up`.

    Settings that only `up` and the jobs need, such as credentials of sources, may be on another
    machine: without them the rest is examined.
    """
    logs.configure("doctor", level="ERROR", style="text")
    SCRUBBER.learn(other_secrets(service="up"))
    lacking: dict[str, str] = {}
    try:
        chosen = settings_module.load(service="up")
    except SettingsError as error:
        lacking = error.problems
        try:
            chosen = settings_module.load(service="rest")
        except SettingsError:
            return without_settings(error)
    subject = subject_of(chosen, days=retention_days(chosen), key=os.environ.get(API_KEY), backup=backup, lacking=lacking)
    urls = [server.url for server in (subject.database, subject.bus) if server]
    SCRUBBER.learn([*chosen.secrets, *urls, *([subject.key] if subject.key else [])])
    return examine(subject)


def report(results: Sequence[Result]) -> dict[str, Any]:
    """Return the JSON object of these results."""
    return {
        "status": overall(results),
        "checks": [{name: value and scrub(value) for name, value in each.as_json().items()} for each in results],
        "version": VERSION,
        "timestamp": format_time(utc_now()),
    }


def _show(results: Sequence[Result]) -> None:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for names, each in _merged(results):
        label = f"{each.status:<8} {names:<20} "
        lines = list(_lines(each, None if width is None else max(_LEAST_WIDTH, width - len(f"{'':<8} {'':<20} "))))
        coloured = click.style(f"{each.status:<8}", fg=_COLOURS[each.status]) + label[8:]
        if len(names) > 20:
            lines = ["", *lines]
        for number, line in enumerate(lines):
            click.echo(((coloured if number == 0 else " " * 30) + line).rstrip())
    counts = {status: sum(each.status == status for each in results) for status in reversed(STATUSES)}
    click.echo(f"\n{len(results)} checks: " + ", ".join(_count(status, count) for status, count in counts.items() if count))


def _count(status: str, count: int) -> str:
    return f"{count} {status}{'s' if count > 1 and status in (WARNING, FAILURE) else ''}"


def _merged(results: Sequence[Result]) -> Iterator[tuple[str, Result]]:
    """The results; neighbours with the same problems become one, under all their names."""
    for _, group in groupby(results, key=lambda each: each.problems or each.name):
        found = list(group)
        yield ", ".join(each.name for each in found), found[0]


def _lines(found: Result, width: int | None) -> Iterator[str]:
    """The text of a result: each problem, and its remedy below it."""
    if not found.problems:
        yield from _wrapped(scrub(found.detail), width, "")
    for problem in found.problems:
        yield from _wrapped(scrub(problem.detail), width, "")
        yield from _wrapped(_ARROW + scrub(problem.remedy), width, " " * len(_ARROW))


def _wrapped(text: str, width: int | None, indent: str) -> list[str]:
    if width is None:
        return [text]
    return textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False) or [""]
