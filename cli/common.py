"""Shared parts of the commands: settings, plain error texts, and the servers in use."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from config.secrets import scrub
from config.settings import Settings
from config.urls import url_of
from db import migrate as migrations
from db.bus import Bus, BusError
from db.postgres import StoreError
from db.timestamps import parse_time
from jobs.feeds.base import SourceError
from ops import checks, embedded, running, startup
from ops.children import hold_stop_signals
from ops.servers import EMBEDDED_DATABASE
from ops.supervisor import StartError, StopAsked, Supervisor, Unfit

ROOT = Path(__file__).resolve().parent.parent
API_KEY = "TICKWIRE_API_KEY"  # the environment variable with a key or token


class Moment(click.ParamType[datetime]):
    """A point in time."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            return parse_time(value)
        except ValueError:
            self.fail(f"{value!r} is not a time like 2025-11-18 or 2025-11-18T12:34:56Z", param, ctx)


class UnfitEnvironment(click.ClickException):
    """The command cannot run before the environment has changed."""

    exit_code = 2


def stopped_by_signals() -> threading.Event:
    """Return an event that Ctrl-C and SIGTERM set from now on."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def chosen_settings(service: str) -> Settings:
    """Return the settings of this checkout, from any working directory, with the logs configured.

    Exits with 2 if invalid.
    """
    os.chdir(ROOT)
    return startup.prepare(service)


def hub_urls(chosen: Settings) -> list[str]:
    """Return the addresses of the hubs that `up` starts."""
    return [url_of(chosen.websocket_host, port) for port in chosen.hub_ports]


@contextmanager
def plain_errors() -> Iterator[None]:
    """Print an expected failure as one sentence, without a traceback.

    The exit code is 2 if the environment has to change, else 1.
    """
    try:
        yield
    except Unfit as error:
        raise UnfitEnvironment(str(error)) from error
    except (running.RunError, StartError, StoreError, BusError, SourceError, OSError) as error:
        text = error.explanation if isinstance(error, SourceError) else str(error)
        raise click.ClickException(scrub(text)) from error


def announce(chosen: Settings, publish: Callable[[Bus], None], late_seconds: float) -> None:
    """Announce a change on the bus of the system, if there is one.

    Without Redis, its processes take the change within `late_seconds`.
    """
    system = running.read(chosen.hub_data_dir)
    url = chosen.redis_url or (system.redis_url if system else None)
    if url is None:
        return
    try:
        with closing(startup.open_bus(replace(chosen, redis_url=url))) as bus:
            publish(bus)
    except BusError as error:
        click.echo(f"Redis does not answer ({error}): processes take the change within {late_seconds:.0f} s", err=True)


def say(text: str) -> None:
    """Print a line about the progress to stderr."""
    click.echo(text, err=True)


@contextmanager
def stopping(text: str) -> Iterator[None]:
    """End the command with one sentence if a stop signal has ended its work."""
    try:
        yield
    except StopAsked:
        raise click.ClickException(text) from None


def nothing_runs(chosen: Settings, *, instead: str = "--url") -> str:
    """Return the text for a command that finds no running system.

    `instead` names the option or the settings that replace HUB_DATA_DIR.
    """
    return f"nothing runs on HUB_DATA_DIR={chosen.hub_data_dir}; set HUB_DATA_DIR as for make run, or {instead}"


def running_system(chosen: Settings) -> running.RunFile:
    """Return the running system. Raises `RunError` if there is none."""
    system = running.read(chosen.hub_data_dir)
    if system is None:
        raise running.RunError(nothing_runs(chosen))
    return system


def no_connection(url: str, what: str = "hub", cause: str | None = None) -> str:
    """Return the text for a command that cannot reach a hub or REST (`what`) at `url`.

    Without a `cause`, one more connection is made to find it.
    """
    return f"no connection to {url} ({cause or running.failure_of(url)}): --url names another {what}"


def servers(chosen: Settings) -> tuple[str, str]:
    """Return the URLs of database and bus: of the running system, else of the settings.

    That of the database leads to no pooler, if the settings have such a URL.
    """
    system = running.read(chosen.hub_data_dir)
    if system is not None:
        return system.database_url, system.redis_url
    if chosen.database_direct_url is None or chosen.redis_url is None:
        raise running.RunError(nothing_runs(chosen, instead="DATABASE_URL and REDIS_URL"))
    return chosen.database_direct_url, chosen.redis_url


@contextmanager
def database(chosen: Settings) -> Iterator[str]:
    """Yield the URL of the configured database without a pooler, or of the embedded one.

    If the embedded database does not run, it runs for the block.
    """
    folder = chosen.hub_data_dir
    if chosen.database_direct_url:
        yield chosen.database_direct_url
        return
    running.prepare_data_dir(folder)
    try:
        with running.locked(folder) as lock:
            hold_stop_signals()
            embedded.check(folder)
            with Supervisor(inherit=(lock,)) as supervisor:
                server = embedded.postgres(folder)
                supervisor.start(server)
                yield server.url
    except running.Busy:
        system = running.read(folder)
        if system is None:
            raise
        yield system.database_url


def migrate_database(command: str, chosen: Settings, url: str) -> list[str]:
    """Check the database at `url` and apply the missing migrations; return their names.

    Raises `Unfit` or `StartError` before the first migration if the role lacks a right.
    """
    setting = chosen.direct_setting if chosen.database_url else EMBEDDED_DATABASE
    checks.check(command, [checks.database_server(url, setting)], embedded=not chosen.database_url)
    return migrations.apply(url)
