"""What every command needs: settings, errors in plain words, and the servers it is about."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from config import logs, settings
from config.settings import Settings, SettingsError
from db.bus import BusError
from db.postgres import StoreError
from db.timestamps import parse_time
from jobs.feeds.base import SourceError
from ops import embedded, running
from ops.children import hold_stop_signals
from ops.supervisor import StartError, Supervisor

ROOT = Path(__file__).resolve().parent.parent


class Moment(click.ParamType[datetime]):
    """A point in time."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            return parse_time(value)
        except ValueError:
            self.fail(f"{value!r} is not a time like 2025-11-18 or 2025-11-18T12:34:56Z", param, ctx)


def stopped_by_signals() -> threading.Event:
    """What Ctrl-C and SIGTERM set from now on."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def chosen_settings(service: str) -> Settings:
    """Settings of the checkout this package is in, wherever it was called from, and logs on stderr."""
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
def plain_errors() -> Iterator[None]:
    """What can be expected to go wrong is told in a sentence, without a stack trace."""
    try:
        yield
    except (running.RunError, StartError, StoreError, BusError, SourceError, OSError) as error:
        raise click.ClickException(str(error)) from error


def servers(chosen: Settings) -> tuple[str, str]:
    """URLs of database and bus: of the running system, else as configured."""
    system = running.read(chosen.hub_data_dir)
    if system is not None:
        return system.database_url, system.redis_url
    if chosen.database_url is None or chosen.redis_url is None:
        raise running.RunError(f"nothing runs on {chosen.hub_data_dir}: start it with `make run`, or set DATABASE_URL and REDIS_URL")
    return chosen.database_url, chosen.redis_url


@contextmanager
def database(chosen: Settings) -> Iterator[str]:
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
