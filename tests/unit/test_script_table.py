"""The table of usual commands in docs/operations.md: each command starts, or is tried dry."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from api.app import create_app
from config import VERSION
from config.settings import load
from db.bus import Bus
from db.postgres import Store
from db.timestamps import utc_now
from tests.support.manifests import KUBECTL, SINGLE_NODE, objects
from tests.support.ports import free_port
from tests.support.processes import ROOT

PYTHON = str(ROOT / ".venv" / "bin" / "python")
NO_SERVERS = "DATABASE_URL (or DB_*) and REDIS_URL (or REDIS_*)"


def rows() -> dict[str, str]:
    """Usual command -> its equivalent, of the table."""
    section = (ROOT / "docs" / "operations.md").read_text().partition("## Script table\n")[2]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return {line[0]: line[1] for line in lines[2:]}


def run(*command: str, **variables: str) -> tuple[int, str]:
    """Run a command without the servers of the settings; return its exit code and its output."""
    unset = dict.fromkeys(("DATABASE_URL", "DB_HOST", "REDIS_URL", "REDIS_HOST"), "")
    environment = {**os.environ, **unset, "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}", **variables}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def commands(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_targets_of_make_exist() -> None:
    named = {command.split()[1]: command for here in rows().values() for command in commands(here) if command.startswith("make ")}
    assert set(named) == {"venv", "run", "dev", "check", "fix", "test", "watch", "coverage"}
    for target in named:
        # `-n` prints the commands. A line with `$(…)` of the shell is printed too, and not run.
        code, output = run("make", "-n", target)
        assert code == 0, output
    assert "manage.py up --reload" in run("make", "-n", "dev")[1]
    assert "watch_tests.py unit" in run("make", "-n", "watch", "PART=unit")[1]
    assert run(PYTHON, "scripts/watch_tests.py", "--help")[0] == 0
    fix = run("make", "-n", "fix")[1]
    assert "ruff check --fix ." in fix
    assert "ruff format ." in fix
    assert "--cov " in run("make", "-n", "coverage")[1]
    assert "--cov" in run(PYTHON, "-m", "pytest", "--help")[1]


def test_commands_of_manage_exist() -> None:
    named = {command.split()[1] for here in rows().values() for command in commands(here) if command.startswith("manage.py ")}
    assert named == {"up", "migrate", "status", "doctor"}
    for name in sorted(named):
        code, output = run(PYTHON, "manage.py", name, "--help")
        assert code == 0, output
        assert name != "up" or {"--only", "--reload"} <= set(output.split())


@pytest.mark.parametrize("file", ["api/websocket_server.py", "api/app.py"])
def test_file_starts_gunicorn_from_any_folder(file: str, tmp_path: Path) -> None:
    assert any(f"`python {file}`" in usual for usual in rows())
    done = subprocess.run([PYTHON, str(ROOT / file), "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.split()[:2]) == (0, ["usage:", "gunicorn"]), done.stderr


def test_files_need_the_servers_of_the_settings() -> None:
    for file in ("jobs/scheduler.py", "api/app.py"):
        code, output = run(PYTHON, file, API_PORT=str(free_port()))
        assert (code, NO_SERVERS in output) == (1, True), output


def test_old_command_of_gunicorn_ends_with_the_new_one() -> None:
    old, here = next((usual.strip("`"), here) for usual, here in rows().items() if usual.startswith("`gunicorn"))
    code, output = run(*old.split())
    assert code == 1
    new = commands(here)[0]
    assert new in output
    assert len(output.strip().splitlines()) == 1
    code, output = run(*new.replace("'", "").split(), "--help")
    assert code == 0


def test_containers_and_manifests_are_there() -> None:
    text = str(rows())
    for command, file in (("docker compose up -d --build", "docker-compose.yml"), ("docker build -t tickwire .", "Dockerfile")):
        assert command in text
        assert (ROOT / file).is_file()
    [apply] = [command for here in rows().values() for command in commands(here) if command.startswith("kubectl ")]
    assert ROOT / apply.split()[-1] == SINGLE_NODE
    assert KUBECTL is None or objects(SINGLE_NODE)


def test_paths_are_routes_of_rest() -> None:
    chosen = load({}, dotenv=None)
    app = create_app(chosen, Bus("redis://127.0.0.1:1", utc_now), Store("postgresql://127.0.0.1:1/x"), utc_now, VERSION)
    [usual] = [usual for usual in rows() if usual.startswith("`curl")]
    paths = [path.removeprefix("curl …") for path in commands(usual)]
    assert paths == ["/health", "/health/db", "/health/binance", "/metrics"]
    assert {*paths, "/api/system/logs/recent"} <= {rule.rule for rule in app.url_map.iter_rules()}


def test_every_row_is_tried() -> None:
    assert len(rows()) == 16
