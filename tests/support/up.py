"""`manage.py up` in tests: its environment, its start, its files, its processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg2

from tests.conftest import until
from tests.support.ports import free_port
from tests.support.processes import ROOT
from tests.support.servers import equal_passwords

START_SECONDS = 90.0
PROCESSES = {"jobs", "books", "observer", "hub", "rest", "postgres", "redis"}


@dataclass(frozen=True, slots=True)
class Up:
    """One `manage.py up`, its data directory and its output."""

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
        """The content of run.json."""
        text = (self.hub_dir / "run.json").read_text()
        return dict(json.loads(text))

    def end(self, number: int) -> int:
        """Send a signal; return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(90)


class Environment(dict[str, str]):
    """The embedded default on free ports, independent of the shell that runs the tests."""

    def __init__(self, hub_dir: Path) -> None:
        unset = dict.fromkeys(("DATABASE_URL", "DB_HOST", "REDIS_URL", "REDIS_HOST", "LOG_FILE"), "")
        ours = {"HUB_DATA_DIR": str(hub_dir), "SOURCES": "", "API_PORT": str(free_port()), "WEBSOCKET_PORT": str(free_port())}
        super().__init__({**os.environ, **unset, **ours, "LOG_FORMAT": "text", "LOG_LEVEL": "INFO"})


@contextmanager
def starter(environment: Environment, folder: Path, *options: str, root: Path = ROOT) -> Iterator[Callable[[], Up]]:
    """Give a function that starts one `up` of the checkout `root`; stop those that still run."""
    started: list[Up] = []

    def start() -> Up:
        out, errors = folder / f"out{len(started)}", folder / f"errors{len(started)}"
        with out.open("wb") as stdout, errors.open("wb") as stderr:
            # A group of its own, as a shell with job control starts it: the kernel ignores SIGTSTP
            # for a group without a parent in its session.
            process = subprocess.Popen(
                [sys.executable, "manage.py", "up", *options], cwd=root, env=environment, stdout=stdout, stderr=stderr, process_group=0
            )
        started.append(Up(process, Path(environment["HUB_DATA_DIR"]), out, errors))
        return started[-1]

    try:
        yield start
    finally:
        for one in started:
            if one.process.poll() is None:
                one.end(signal.SIGTERM)


def make_data(hub_dir: Path) -> Path:
    """Create a data directory with a migrated database, to be copied with `copy_data`."""
    equal_passwords(hub_dir)
    done = manage(Environment(hub_dir), "migrate")
    assert done.returncode == 0, done.stderr
    return hub_dir


def copy_data(source: Path, hub_dir: Path) -> Path:
    """Copy a data directory that no `up` uses, so that the next start needs no initdb."""
    shutil.copytree(source, hub_dir, ignore=shutil.ignore_patterns("logs"), dirs_exist_ok=True)
    hub_dir.chmod(0o700)
    return hub_dir


def manage(environment: Environment, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of `manage.py` to its end."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def family(system: Up) -> list[psutil.Process]:
    """Return every process below the supervisor, workers and sessions included."""
    return list(psutil.Process(system.process.pid).children(recursive=True))


def command_line(process: psutil.Process) -> str:
    """Return the words of the process, or "" if it has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def all_gone(processes: list[psutil.Process]) -> bool:
    """Return True if each of them has ended."""
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


def execute(url: str, statement: str) -> list[Any] | None:
    """Execute and commit one statement; return its rows, or None if it has no result."""
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else None
    finally:
        connection.close()
