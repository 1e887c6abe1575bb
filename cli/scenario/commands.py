"""`manage.py scenario list`, `run` and `show`, over the bus and the store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import click
from rich.console import Console

from cli.common import chosen_settings, plain_errors, servers, stopped_by_signals
from cli.scenario.screen import Screen, print_run, print_scenarios
from config.books.checks import SCENARIO_FOLDER
from config.settings import Settings
from db.bus import Bus
from db.figures.server_status import current_scenario, server_status
from db.instruments import all_instruments
from db.postgres import Store
from db.scenario_runs import find_run, latest_runs
from db.scenarios.checks import parse_overrides
from db.scenarios.fields import ScenarioError
from db.scenarios.files import ScenarioFolder, read_folder, recording_folders
from db.scenarios.run_record import RunRecord
from db.scenarios.switching import NotConfirmed, UnknownScenario, checked_scenario, switch_scenario
from db.timestamps import utc_now
from health.reports import Report, read_processes
from health.system.books import configuration_of
from health.system.state import acting_process
from ops import startup
from ops.running import RunError

_Found = TypeVar("_Found")

REDRAW_SECONDS = 1.0
_RUNNING = "running"
_ROLE, _SOURCE = "books", "scenario"


@dataclass(frozen=True, slots=True)
class System:
    """The bus and the store of the running system."""

    settings: Settings
    bus: Bus
    store: Store

    def books(self) -> Report | None:
        """The report of the acting process `books`; None if there is none."""
        return acting_process(read_processes(self.bus, utc_now()).expected(), _ROLE)

    def status(self) -> dict[str, Any] | None:
        """The body of `/status`; None before the first heartbeat."""
        heartbeat = self.bus.latest_heartbeat()
        if heartbeat is None:
            return None
        scenario = current_scenario(heartbeat, self.bus.latest_scenario_change(), self.settings.scenario)
        part = None if (report := self.books()) is None else report.part(_ROLE)
        return server_status({**heartbeat, "current_scenario": scenario}, part, configuration_of(self.settings), utc_now())

    def run(self, run_id: str) -> RunRecord | None:
        """A run as the store has it."""
        with self.store.transaction() as cursor:
            return find_run(cursor, run_id)

    def newest_run(self) -> RunRecord | None:
        """The newest run of the store."""
        with self.store.transaction() as cursor:
            return next(iter(latest_runs(cursor, 1)), None)


@click.group()
def scenario() -> None:
    """Show the incident scenarios and their runs, or switch to one."""


@scenario.command("list")
def list_scenarios() -> None:
    """Show all scenarios: the current one, and their files. Faulty files are named."""
    with _system() as system:
        files = _folder().files
        setting = system.settings.scenario
        current = current_scenario(system.bus.latest_heartbeat(), system.bus.latest_scenario_change(), setting)
        print_scenarios(Console(), files, current)


@scenario.command("run")
@click.argument("name")
@click.option("--speed", type=float, metavar="X", help="Factor of the speed of each phase.")
@click.option("--seed", type=int, metavar="N", help="Equal seeds give equal runs.")
@click.option("--loop", is_flag=True, help="Begin again after the last phase.")
def run_scenario(name: str, speed: float | None, seed: int | None, loop: bool) -> None:
    """Switch to the scenario NAME and show its figures.

    The current scenario starts again. The figures are shown once a second until the run ends or
    Ctrl-C, which does not end the run. The running system needs SOURCES=scenario.
    """
    given = {"speed": speed, "seed": seed, "loop": loop or None}
    with _system() as system:
        values = _checked(lambda: parse_overrides(given))
        _refuse_without_player(system.books())
        with system.store.transaction() as cursor:
            instruments = {each.symbol for each in all_instruments(cursor)}
        recordings = recording_folders(system.settings.hub_data_dir)
        folder = _folder()
        _checked(lambda: checked_scenario(folder, name, values, recordings, instruments))
        switch = _checked(lambda: switch_scenario(system.bus, name, values, utc_now()))
        click.echo(f"switched from {switch.previous} to {switch.current}, run {switch.run_id}")
        _follow(system, switch.run_id)


@scenario.command("show")
@click.argument("run_id", required=False)
def show(run_id: str | None) -> None:
    """Show the run RUN_ID, or the current one.

    The figures of the current run are shown once a second until it ends or Ctrl-C. If none is
    played, the last one is shown.
    """
    with _system() as system:
        if run_id is None and (current := _current_run(system)) is not None:
            _follow(system, current)
            return
        record = system.newest_run() if run_id is None else system.run(run_id)
        if record is None:
            raise click.ClickException("no scenario has been played yet" if run_id is None else f"there is no run {run_id}")
        print_run(Console(), record)


def _follow(system: System, run_id: str) -> None:
    """Show the figures of a run until it ends or Ctrl-C; then its record."""
    stop = stopped_by_signals()
    with Screen(Console()) as screen:
        record = _watch(system, run_id, stop, screen)
    if record is not None:
        print_run(Console(), record)


def _watch(system: System, run_id: str, stop: threading.Event, screen: Screen) -> RunRecord | None:
    """Draw once a second; return the run as it is at the end."""
    while True:
        record = system.run(run_id)
        if (body := system.status()) is not None:
            screen.draw(body)
        if (record is not None and record.outcome != _RUNNING) or stop.wait(REDRAW_SECONDS):
            return record


def _current_run(system: System) -> str | None:
    """The id of the run that is played; None if none is."""
    report = system.books()
    run = None if report is None else report.part(_ROLE).get("scenario_run")
    return run["run_id"] if isinstance(run, dict) else None


def _refuse_without_player(report: Report | None) -> None:
    if report is None:
        raise RunError("no process books runs: start the system with SOURCES=scenario")
    if _SOURCE not in report.part("sources"):
        raise RunError("SOURCES of the running system does not contain scenario: set SOURCES=scenario and start it again")


def _folder() -> ScenarioFolder:
    """Read the scenarios; print the faults of the files that cannot be used."""
    folder = _checked(lambda: read_folder(SCENARIO_FOLDER))
    for problem in folder.problems.values():
        click.echo(f"left out: {problem}", err=True)
    return folder


def _checked(call: Callable[[], _Found]) -> _Found:
    """Call the function; its refusals end the command with their text."""
    try:
        return call()
    except UnknownScenario as error:
        raise click.ClickException(f"{error}: there are {', '.join(error.available)}") from error
    except NotConfirmed as error:
        raise click.ClickException(f"{error}: manage.py status shows the processes") from error
    except ScenarioError as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def _system() -> Iterator[System]:
    chosen = chosen_settings("scenario")
    with plain_errors(), ExitStack() as stack:
        database_url, redis_url = servers(chosen)
        store = stack.enter_context(closing(startup.open_store(chosen, "scenario", url=database_url, pool_max=2)))
        bus = stack.enter_context(closing(startup.open_bus(chosen, redis_url)))
        store.ping()
        bus.ping()
        yield System(chosen, bus, store)
