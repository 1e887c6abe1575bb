"""`manage.py scenario` and REST beside the real process `books`."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask.testing import FlaskClient

import cli.scenario.commands
import manage
from api.app import create_app
from config.settings import Settings
from config.venues import SourceSpec
from db.bus import Bus
from db.postgres import Store
from db.scenario_runs import find_run
from db.scenarios.run_record import RunRecord
from db.timestamps import utc_now
from tests.conftest import Servers, new_ground, until
from tests.support.processes import ROOT, books, environ_of

Run = Callable[..., Result]


@dataclass
class System:
    """A process `books` that plays scenarios, REST, and the commands."""

    settings: Settings
    bus: Bus
    store: Store
    rest: FlaskClient

    def record(self, run_id: str) -> RunRecord | None:
        with self.store.transaction() as cursor:
            return find_run(cursor, run_id)

    def wanted(self) -> dict[str, Any]:
        found = self.bus.wanted_scenario()
        assert found is not None
        return found


@pytest.fixture(scope="module")
def system(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("scenario")
    with ExitStack() as stack:
        settings, bus, store, _ = stack.enter_context(new_ground(servers, folder))
        stack.enter_context(books(settings, folder / "books.log", SOURCES="scenario"))
        playing = replace(settings, sources=(SourceSpec("scenario"),))
        rest = create_app(playing, bus, store, utc_now, "1").test_client()
        until(lambda: rest.get("/book?symbol=BTCUSDT&require=live").status_code == 200, 30, "a live book")
        yield System(settings, bus, store, rest)


@pytest.fixture
def run(system: System, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command of `manage.py` in this process."""
    monkeypatch.setattr(cli.scenario.commands, "chosen_settings", lambda service: system.settings)
    monkeypatch.setattr(cli.scenario.commands, "stopped_by_signals", lambda: pytest.fail("no run is followed"))
    return lambda *arguments: CliRunner().invoke(manage.cli, ("scenario", *arguments))


def begun(system: System, *arguments: str) -> subprocess.Popen[str]:
    """Start a command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "manage.py", "scenario", *arguments],
        cwd=ROOT,
        env=environ_of(system.settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def status_of(system: System) -> dict[str, Any]:
    system.rest.get("/health")  # reads the registry
    return dict(system.rest.get("/status").get_json())


def book(system: System) -> dict[str, Any]:
    return dict(system.rest.get("/book?symbol=BTCUSDT&depth=7").get_json())


def test_figures_of_the_process_are_those_of_rest(system: System) -> None:
    body = book(system)
    assert (body["state"], len(body["bids"]), len(body["asks"])) == ("live", 7, 7)
    until(lambda: (book(system)["measures"] or {}).get("spread") is not None, what="the measures")
    [state] = system.rest.get("/book/states").get_json()["books"]
    assert (state["symbol"], state["state"]) == ("BTCUSDT", "live")
    cost = system.rest.get("/book/cost?symbol=BTCUSDT&side=buy&notional=1000").get_json()
    assert (cost["filled"], cost["state"]) == (True, "live")
    until(lambda: status_of(system)["books"] == {"BTCUSDT": "live"} and status_of(system)["scenario_running"], what="the run in the status")
    status = status_of(system)
    assert status["current_scenario"] == "stable-mode"
    assert status["configuration"]["processing_delay_ms"] == 1
    assert system.rest.get("/openapi.json").status_code == 200


def test_list_shows_the_current_scenario(run: Run) -> None:
    done = run("list")
    assert done.exit_code == 0, done.output
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows == [
        ["scenario", "file", "current"],
        ["stable-mode", "stable-mode-data.json", "yes"],
        *([name, f"{name}-data.json"] for name in ("burst-mode", "gradual-spike", "extreme-spike")),
    ]


def test_list_names_each_fault_of_a_file(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bad-mode.json").write_text('{"name": "bad-mode", "recording": ["x.gz"], "phases": []}')
    monkeypatch.setattr(cli.scenario.commands, "SCENARIO_FOLDER", tmp_path)
    done = run("list")
    assert done.exit_code == 0, done.output
    assert done.stderr == "left out: bad-mode.json: phases must be a list of 1 to 100 items; processing_delay_ms is missing\n"


def test_run_and_the_post_write_the_same_key_and_row(system: System, run: Run) -> None:
    with begun(system, "run", "burst-mode", "--speed", "2", "--seed", "7", "--loop") as command:
        assert command.stdout is not None
        first = command.stdout.readline()
        assert first.startswith("switched from stable-mode to burst-mode, run ")
        run_id = first.split()[-1]
        until(lambda: system.record(run_id) is not None, what="the row of the run")
        by_command = system.wanted()
        assert command.stdout.readline().startswith("burst-mode")
        answer = system.rest.post("/scenarios/burst-mode", json={"speed": 2, "seed": 7, "loop": True}).get_json()
        rest_of_it, errors = command.communicate(timeout=60)
    assert (command.returncode, errors) == (0, "")
    assert "switched" in rest_of_it, "the run has ended, and its record is printed"
    by_post = system.wanted()
    assert (by_command.pop("run_id"), by_post.pop("run_id")) == (run_id, answer["run_id"])
    assert by_command.pop("requested") < by_post.pop("requested")
    assert by_command == by_post
    until(lambda: system.record(answer["run_id"]) is not None, what="the row of the second run")
    first_row, second_row = system.record(run_id), system.record(answer["run_id"])
    assert first_row is not None
    assert second_row is not None
    assert (first_row.scenario, first_row.seed, first_row.parameters) == (second_row.scenario, second_row.seed, second_row.parameters)
    assert (first_row.outcome, second_row.outcome) == ("switched", "running")
    shown = run("show", run_id)
    assert shown.exit_code == 0
    assert [line.split() for line in shown.stdout.splitlines()][:2] == [["run", run_id], ["scenario", "burst-mode"]]
    assert system.rest.get(f"/scenarios/runs/{run_id}").get_json()["outcome"] == "switched"


def test_show_follows_the_current_run_until_ctrl_c(system: System) -> None:
    run_id = system.rest.post("/scenarios/stable-mode").get_json()["run_id"]
    until(lambda: cli.scenario.commands._current_run(_commands(system)) == run_id, what="the report of the run")
    with begun(system, "show") as command:
        assert command.stdout is not None
        for _ in range(2):
            line = command.stdout.readline()
            assert line.startswith("stable-mode"), line
            assert "queue" in line
            assert "BTCUSDT" in line
        command.send_signal(signal.SIGINT)
        text, errors = command.communicate(timeout=60)
    assert (command.returncode, errors) == (0, "")
    assert run_id in text
    assert system.wanted()["run_id"] == run_id, "the run goes on"


def _commands(system: System) -> cli.scenario.commands.System:
    return cli.scenario.commands.System(system.settings, system.bus, system.store)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("run", "nonsense"), "there is no scenario 'nonsense': there are stable-mode, burst-mode"),
        (("run", "burst-mode", "--speed", "0"), "speed must be a number from 0.001 to 1000"),
        (("run", "burst-mode", "--seed", "-1"), "seed must be a whole number"),
        (("show", "nonsense"), "there is no run nonsense"),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_switched(system: System, run: Run, arguments: tuple[str, ...], text: str) -> None:
    before = system.bus.wanted_scenario()
    done = run(*arguments)
    assert done.exit_code == 1
    assert text in done.output
    assert system.bus.wanted_scenario() == before


def test_run_without_a_process_that_plays_scenarios_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.scenario.commands.System, "books", lambda self: None)
    done = run("run", "burst-mode")
    assert (done.exit_code, "start the system with SOURCES=scenario" in done.output) == (1, True)
