"""`manage.py up`, as an operator starts, watches, stops and breaks it."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
import redis as redis_client

from db import topics
from ops import running
from ops.embedded.server import free_port
from tests.conftest import until

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 90.0
PROCESSES = {"jobs", "hub", "rest", "postgres", "redis"}


@dataclass(frozen=True, slots=True)
class Up:
    """One `manage.py up` and where it writes."""

    process: subprocess.Popen[bytes]
    hub_dir: Path
    out: Path
    errors: Path

    def ready(self) -> Up:
        """Wait for the `ready:` line."""
        until(self._is_ready, START_SECONDS, "the ready line")
        return self

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.errors.read_text()
        return "ready:" in self.out.read_text()

    @property
    def run(self) -> dict[str, Any]:
        text = (self.hub_dir / "run.json").read_text()
        return dict(json.loads(text))

    def end(self, number: int) -> int:
        """Send a signal and give the exit code."""
        self.process.send_signal(number)
        return self.process.wait(90)


class Environment(dict[str, str]):
    """The embedded default on free ports, whatever the shell that runs the tests says."""

    def __init__(self, hub_dir: Path) -> None:
        api = free_port()
        unset = dict.fromkeys(("DATABASE_URL", "DB_HOST", "REDIS_URL", "REDIS_HOST", "LOG_FILE"), "")
        ours = {"HUB_DATA_DIR": str(hub_dir), "SOURCES": "", "API_PORT": str(api), "WEBSOCKET_PORT": str(free_port((api,)))}
        super().__init__({**os.environ, **unset, **ours, "LOG_FORMAT": "text", "LOG_LEVEL": "INFO"})


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path / "var")


@pytest.fixture
def up(environment: Environment, tmp_path: Path) -> Iterator[Callable[[], Up]]:
    """Start one; whatever still runs at the end is stopped."""
    started: list[Up] = []

    def start() -> Up:
        out, errors = tmp_path / f"out{len(started)}", tmp_path / f"errors{len(started)}"
        with out.open("wb") as stdout, errors.open("wb") as stderr:
            process = subprocess.Popen([sys.executable, "manage.py", "up"], cwd=ROOT, env=environment, stdout=stdout, stderr=stderr)
        started.append(Up(process, Path(environment["HUB_DATA_DIR"]), out, errors))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.end(signal.SIGTERM)


def manage(environment: Environment, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=90, check=False
    )


def family(system: Up) -> list[psutil.Process]:
    """Every process below the supervisor, workers and sessions included."""
    return list(psutil.Process(system.process.pid).children(recursive=True))


def command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # a database session that ended meanwhile
        return ""


def all_gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


def execute(url: str, statement: str) -> list[Any] | None:
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else None
    finally:
        connection.close()


def test_it_says_where_it_is_and_sigterm_stops_every_process(up: Callable[[], Up], environment: Environment) -> None:
    system = up().ready()
    rest, hub = f"http://127.0.0.1:{environment['API_PORT']}", f"http://127.0.0.1:{environment['WEBSOCKET_PORT']}"
    [line] = system.out.read_text().splitlines()
    assert line.startswith("ready:")
    assert rest in line
    assert hub in line
    run = system.run
    assert (run["rest"], run["hub"], set(run["pids"])) == (rest, hub, PROCESSES)
    assert set(run) == {"rest", "hub", "database_url", "redis_url", "pids"}
    assert stat.S_IMODE((system.hub_dir / "run.json").stat().st_mode) == 0o600
    assert execute(run["database_url"], "SELECT 1") == [(1,)]
    processes = family(system)
    assert {process.pid for process in processes} >= set(run["pids"].values())
    passwords = [(system.hub_dir / f"{name}.password").read_text() for name in ("postgres", "redis")]
    seen = system.errors.read_text() + "".join(map(command_line, processes))
    assert not any(password in seen for password in passwords)
    assert system.end(signal.SIGTERM) == 0
    assert all_gone(processes)
    assert not (system.hub_dir / "run.json").exists()


def test_status_tells_health_and_hides_passwords(up: Callable[[], Up], environment: Environment) -> None:
    assert manage(environment, "status").returncode == 1
    system = up().ready()
    done = manage(environment, "status", "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["running"], report["healthy"]) == (0, True, True)
    assert set(report["processes"]) == PROCESSES
    assert ":***@" in report["database_url"]
    shown = manage(environment, "status")
    assert shown.returncode == 0
    assert (system.hub_dir / "postgres.password").read_text() not in shown.stdout + done.stdout


def test_sigint_stops_it_and_the_same_directory_starts_again_with_its_data(up: Callable[[], Up]) -> None:
    first = up().ready()
    execute(first.run["database_url"], "CREATE TABLE kept AS SELECT 42 AS answer")
    redis_client.Redis.from_url(first.run["redis_url"]).set("kept", "42")
    first.process.send_signal(signal.SIGINT)
    assert first.end(signal.SIGINT) == 0  # the impatient second one changes nothing
    second = up().ready()
    assert execute(second.run["database_url"], "SELECT answer FROM kept") == [(42,)]
    assert redis_client.Redis.from_url(second.run["redis_url"]).get("kept") == b"42"


def test_a_second_one_on_the_same_directory_is_refused(up: Callable[[], Up], environment: Environment) -> None:
    system = up().ready()
    done = manage(environment, "up")
    assert done.returncode == 1
    assert f"already running on {system.hub_dir} (pid {system.process.pid})" in done.stderr
    assert "Traceback" not in done.stderr
    migrated = manage(environment, "migrate")
    assert (migrated.returncode, "is up to date" in migrated.stdout) == (0, True)
    assert system.process.poll() is None


@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_a_child_that_is_killed_comes_back(up: Callable[[], Up], name: str) -> None:
    system = up().ready()
    before = system.run
    os.kill(before["pids"][name], signal.SIGKILL)
    until(lambda: system.run["pids"].get(name, before["pids"][name]) != before["pids"][name], 30, "the new pid in run.json")
    until(lambda: running.answers(before["rest"], "/health"), 30, "health")
    assert f"child ended, restarting child={name}" in system.errors.read_text()
    after = system.run
    assert {**after, "pids": {}} == {**before, "pids": {}}
    assert {key: pid for key, pid in after["pids"].items() if key != name} == {
        key: pid for key, pid in before["pids"].items() if key != name
    }
    assert system.end(signal.SIGTERM) == 0


def test_no_process_outlives_a_killed_supervisor_and_the_directory_starts_again(up: Callable[[], Up]) -> None:
    first = up().ready()
    processes = family(first)
    first.process.kill()
    first.process.wait()
    second = up().ready()  # at once: it waits for the old children by itself
    assert all_gone(processes)
    assert second.end(signal.SIGTERM) == 0


def test_a_stop_while_starting_leaves_nothing(up: Callable[[], Up]) -> None:
    system = up()
    until(lambda: "started child=postgres" in system.errors.read_text(), START_SECONDS, "the start of postgres")
    processes = family(system)
    assert system.end(signal.SIGTERM) == 0
    assert all_gone(processes)
    assert "ready:" not in system.out.read_text()


def test_a_recording_is_replayed_onto_the_bus_of_the_running_system(up: Callable[[], Up], environment: Environment, tmp_path: Path) -> None:
    recording = tmp_path / "EUR_USD_made.csv"
    recording.write_text("time,bid,ask\n2014-05-05T00:00:00.100Z,1.38701,1.38713\n2014-05-05T00:00:01Z,1.38702,1.38714\n")
    assert "nothing runs on" in manage(environment, "replay", str(recording)).stderr
    system = up().ready()
    done = manage(environment, "replay", str(recording), "--speed", "max")
    assert (done.returncode, done.stdout) == (0, "published 2 ticks\n"), done.stderr
    latest = redis_client.Redis.from_url(system.run["redis_url"]).hget(topics.LATEST_KEY, "EUR_USD")
    assert json.loads(str(latest, "utf-8"))["price"]["bid"] == "1.38702"  # type: ignore[arg-type]
    wrong = manage(environment, "replay", str(recording), "--speed", "fast")
    assert (wrong.returncode, "--speed" in wrong.stderr) == (2, True)
    recording.write_text("not,a,recording\n1,2,3\n")
    assert (manage(environment, "replay", str(recording)).returncode, "Traceback" in done.stderr) == (1, False)


@pytest.mark.parametrize("name", ["API_PORT", "WEBSOCKET_PORT"])
def test_a_port_in_use_is_said_before_anything_starts(environment: Environment, name: str) -> None:
    with socket.create_server(("127.0.0.1", int(environment[name]))):
        done = manage(environment, "up")
    assert done.returncode == 1
    assert f"{name}: port {environment[name]} on 127.0.0.1 is in use" in done.stderr
    assert not (Path(environment["HUB_DATA_DIR"]) / "postgres").exists()


def test_one_port_for_both_is_said(environment: Environment) -> None:
    environment["WEBSOCKET_PORT"] = environment["API_PORT"]
    done = manage(environment, "up")
    assert (done.returncode, "WEBSOCKET_PORT" in done.stderr) == (1, True)


def test_wrong_settings_are_all_named(environment: Environment) -> None:
    environment.update(API_PORT="many", DB_POOL_MAX="0")
    done = manage(environment, "up")
    assert done.returncode == 2
    assert "API_PORT" in done.stderr
    assert "DB_POOL_MAX" in done.stderr
    assert "Traceback" not in done.stderr


def test_migrate_starts_the_embedded_database_for_the_moment(environment: Environment) -> None:
    first = manage(environment, "migrate")
    assert (first.returncode, first.stderr.count("Traceback")) == (0, 0)
    assert "applied 0001" in first.stdout
    second = manage(environment, "migrate")
    assert (second.returncode, "applied" in second.stdout) == (0, False)
