"""`manage.py up`: start, stop, messages to the operator, and commands beside a running system."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import redis as redis_client

from db import topics
from tests.support.processes import ROOT
from tests.support.up import PROCESSES, Environment, Up, all_gone, command_line, execute, family, manage, starter


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path / "var")


@pytest.fixture
def up(environment: Environment, tmp_path: Path) -> Iterator[Callable[[], Up]]:
    """Start an `up` of the test's own."""
    with starter(environment, tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def shared_environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The environment of the running system that the tests share."""
    environment = Environment(tmp_path_factory.mktemp("shared") / "var")
    environment.update(OANDA_API_TOKEN="token-of-jobs", OANDA_ACCOUNT_ID="account-of-jobs", JWT_SECRET="secret-of-the-web")
    return environment


@pytest.fixture(scope="module")
def system(shared_environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running system; its tests kill, stop and configure nothing."""
    with starter(shared_environment, tmp_path_factory.mktemp("output")) as start:
        yield start().ready()


# commands beside a running system


def test_status_reports_health_without_passwords(environment: Environment, system: Up, shared_environment: Environment) -> None:
    assert manage(environment, "status").returncode == 1
    done = manage(shared_environment, "status", "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["running"], report["healthy"]) == (0, True, True)
    assert set(report["processes"]) == PROCESSES
    assert ":***@" in report["database_url"]
    assert report["redis_url"].startswith("unix://tickwire:***@/")
    shown = manage(shared_environment, "status")
    assert shown.returncode == 0
    passwords = [file.read_text() for file in system.hub_dir.glob("*.password")]
    assert len(passwords) == 5
    assert not any(password in shown.stdout + done.stdout for password in passwords)


def test_doctor_finds_no_fault_in_a_running_system(system: Up, shared_environment: Environment) -> None:
    done = manage(shared_environment, "doctor", "--json")
    report = json.loads(done.stdout)
    assert [each for each in report["checks"] if each["status"] != "ok"] == []
    assert (done.returncode, report["status"]) == (0, "ok")
    assert set(report) == {"status", "checks", "version", "timestamp"}
    assert {tuple(each) for each in report["checks"]} == {("name", "status", "detail", "remedy")}
    shown = manage(shared_environment, "doctor")
    assert shown.stdout.splitlines()[-1] == f"{len(report['checks'])} checks: {len(report['checks'])} ok"
    passwords = [file.read_text() for file in system.hub_dir.glob("*.password")]
    assert not any(password in shown.stdout + done.stdout + shown.stderr + done.stderr for password in passwords)


def test_only_starts_the_servers_and_the_named_processes(environment: Environment, tmp_path: Path) -> None:
    with socket.socket() as taken:  # by another program: no process here needs the port of REST
        taken.bind(("127.0.0.1", int(environment["API_PORT"])))
        taken.listen()
        with starter(environment, tmp_path, "--only", "observer", "--only", "jobs") as start:
            system = start().ready()
            assert set(system.run["pids"]) == {"postgres", "redis", "jobs", "observer"}
            assert system.out.read_text() == "ready: jobs observer\n"
    refused = manage(environment, "up", "--only", "nonsense")
    assert (refused.returncode, "'books', 'hub', 'jobs', 'observer', 'rest'" in refused.stderr) == (2, True)


def test_second_up_on_the_same_directory_is_refused(system: Up, shared_environment: Environment) -> None:
    done = manage(shared_environment, "up")
    assert done.returncode == 1
    assert f"already running on {system.hub_dir} (pid {system.process.pid})" in done.stderr
    assert "Traceback" not in done.stderr
    migrated = manage(shared_environment, "migrate")
    assert (migrated.returncode, "is up to date" in migrated.stdout) == (0, True)
    assert system.process.poll() is None


def test_replayed_recording_arrives_on_the_bus_of_the_running_system(
    environment: Environment, system: Up, shared_environment: Environment, tmp_path: Path
) -> None:
    recording = tmp_path / "EUR_USD_made.csv"
    recording.write_text("time,bid,ask\n2014-05-05T00:00:00.100Z,1.38701,1.38713\n2014-05-05T00:00:01Z,1.38702,1.38714\n")
    assert "nothing runs on" in manage(environment, "replay", str(recording)).stderr
    done = manage(shared_environment, "replay", str(recording), "--speed", "max")
    assert (done.returncode, done.stdout) == (0, "published 2 ticks\n"), done.stderr
    latest = redis_client.Redis.from_url(system.run["redis_url"]).hget(topics.LATEST_KEY, "EUR_USD")
    assert json.loads(str(latest, "utf-8"))["price"]["bid"] == "1.38702"  # type: ignore[arg-type]
    wrong = manage(shared_environment, "replay", str(recording), "--speed", "fast")
    assert (wrong.returncode, "--speed" in wrong.stderr) == (2, True)
    recording.write_text("not,a,recording\n1,2,3\n")
    assert (manage(shared_environment, "replay", str(recording)).returncode, "Traceback" in done.stderr) == (1, False)


def test_process_receives_only_its_settings_and_its_role(system: Up) -> None:
    pids = system.run["pids"]
    found = {name: variables(pids[name]) for name in ("jobs", "books", "observer", "hub", "rest", "postgres", "redis")}
    assert {name for name, each in found.items() if "OANDA_API_TOKEN" in each} == {"jobs"}
    assert {name for name, each in found.items() if "OANDA_ACCOUNT_ID" in each} == {"jobs"}
    assert {name for name, each in found.items() if "JWT_SECRET" in each} == {"hub", "rest"}
    roles = {name: urlsplit(each["DATABASE_URL"]).username for name, each in found.items() if "DATABASE_URL" in each}
    writer, reader = "tickwire_writer", "tickwire_reader"
    assert roles == {"jobs": writer, "books": writer, "observer": writer, "hub": reader, "rest": reader}
    assert urlsplit(system.run["database_url"]).username == "tickwire_owner"
    superuser = (system.hub_dir / "postgres.password").read_text()
    assert not any(superuser in value for each in found.values() for value in each.values())


def variables(pid: int) -> dict[str, str]:
    """Return the environment with which the process was started."""
    words = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(word.split("=", 1) for word in words if "=" in word)


def test_redis_of_the_running_system_is_reached_through_its_socket_alone(system: Up) -> None:
    url = urlsplit(system.run["redis_url"])
    assert (url.scheme, url.username, url.path, url.query) == (
        "unix",
        "tickwire",
        str(system.hub_dir.resolve() / "redis/redis.sock"),
        "db=0",
    )
    assert psutil.Process(system.run["pids"]["redis"]).net_connections("inet") == []


# start and stop


@pytest.mark.slow
def test_up_prints_its_addresses_and_sigterm_stops_every_process(up: Callable[[], Up], environment: Environment) -> None:
    system = up().ready()
    rest, hub = f"http://127.0.0.1:{environment['API_PORT']}", f"http://127.0.0.1:{environment['WEBSOCKET_PORT']}"
    line, watch = system.out.read_text().splitlines()
    assert watch == "watch prices: .venv/bin/python manage.py watch"
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
    passwords = [file.read_text() for file in system.hub_dir.glob("*.password")]
    seen = system.errors.read_text() + "".join(map(command_line, processes))
    assert not any(password in seen for password in passwords)
    assert system.end(signal.SIGTERM) == 0
    assert all_gone(processes)
    assert not (system.hub_dir / "run.json").exists()


@pytest.mark.slow
def test_sigint_stops_up_and_the_next_start_has_its_data(up: Callable[[], Up]) -> None:
    first = up().ready()
    execute(first.run["database_url"], "CREATE TABLE kept AS SELECT 42 AS answer")
    redis_client.Redis.from_url(first.run["redis_url"]).set("tickwire:kept", "42")
    first.process.send_signal(signal.SIGINT)
    assert first.end(signal.SIGINT) == 0  # a second signal while stopping changes nothing
    second = up().ready()
    assert execute(second.run["database_url"], "SELECT answer FROM kept") == [(42,)]
    assert redis_client.Redis.from_url(second.run["redis_url"]).get("tickwire:kept") == b"42"


def test_migrate_starts_the_embedded_database_temporarily(environment: Environment) -> None:
    first = manage(environment, "migrate")
    assert (first.returncode, first.stderr.count("Traceback")) == (0, 0)
    assert "applied 0001" in first.stdout
    second = manage(environment, "migrate")
    assert (second.returncode, "applied" in second.stdout) == (0, False)


# refused starts


@pytest.mark.parametrize("name", ["API_PORT", "WEBSOCKET_PORT"])
def test_port_in_use_is_refused_before_anything_starts(environment: Environment, name: str) -> None:
    with socket.create_server(("127.0.0.1", int(environment[name]))):
        done = manage(environment, "up")
    assert done.returncode == 2
    assert f"{name}: port {environment[name]} on 127.0.0.1 is in use" in done.stderr
    assert not (Path(environment["HUB_DATA_DIR"]) / "postgres").exists()


def test_one_port_for_both_servers_is_refused(environment: Environment) -> None:
    environment["WEBSOCKET_PORT"] = environment["API_PORT"]
    done = manage(environment, "up")
    assert (done.returncode, "WEBSOCKET_PORT" in done.stderr) == (2, True)


def test_all_wrong_settings_are_named(environment: Environment) -> None:
    environment.update(API_PORT="many", DB_POOL_MAX="0")
    done = manage(environment, "up")
    assert done.returncode == 2
    assert "API_PORT" in done.stderr
    assert "DB_POOL_MAX" in done.stderr
    assert "Traceback" not in done.stderr


def _as_unknown_user(*command: str) -> list[str]:
    """Return the command as it runs with a user id that has no entry in /etc/passwd."""
    return ["setpriv", "--reuid=12345678", "--regid=12345678", "--clear-groups", sys.executable, *command]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start as another user")
def test_user_without_an_entry_gets_one_sentence_before_anything_starts(environment: Environment) -> None:
    """Some containers run as a random user id."""
    if subprocess.run(_as_unknown_user("-c", "import cli.system"), cwd=ROOT, capture_output=True, check=False).returncode:
        pytest.skip("the other user cannot read this checkout")
    with tempfile.TemporaryDirectory() as folder:  # the directories of pytest are private
        os.chown(folder, 12345678, 12345678)
        environment["HUB_DATA_DIR"] = folder
        command = _as_unknown_user("manage.py", "up")
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 2, done.stderr
        assert "Error: user id 12345678 has no entry in /etc/passwd" in done.stderr
        assert "DATABASE_URL" in done.stderr
        assert "initdb" not in done.stderr
        assert "Traceback" not in done.stderr
        assert not (Path(folder) / "postgres").exists()
