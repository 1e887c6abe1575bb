"""Our processes, started in the same way as an operator or `up` starts them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from config.settings import Settings
from db.rights import OWNER, READER, WRITER
from ops.embedded.server import Server
from tests.conftest import until
from tests.support.ports import free_port
from tests.support.servers import as_role

ROOT = Path(__file__).parents[2]


def noon_zone(now: datetime) -> str:
    """Return the name of a zone in which it is noon, up to an hour."""
    east = 12 - now.astimezone(UTC).hour
    return f"Etc/GMT{-east:+d}"  # POSIX counts hours to the west


# The day of the observer does not end between the reports of a test and its assertions. All
# processes have the same zone, as days of two zones would differ.
OBS_DAY_ZONE = noon_zone(datetime.now(UTC))


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Suspend the process for the length of the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def stopped_group(pid: int) -> Iterator[None]:
    """Suspend every process of the group of `pid` for the length of the block."""
    group = os.getpgid(pid)
    os.killpg(group, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(group, signal.SIGCONT)


class Running:
    """A process in a group of its own. The end of the `with` block kills it, in any state."""

    def __init__(self, argv: list[str], environ: dict[str, str], log: Path) -> None:
        self.argv, self.environ, self.log = argv, environ, log
        self.popen: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()  # a failed start leaves no process
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        assert self.popen is not None
        return self.popen.pid

    def start(self) -> None:
        environ = {**os.environ, **self.environ, "LOG_FORMAT": "json"}
        with self.log.open("ab") as output:
            self.popen = subprocess.Popen(
                self.argv, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Signal the whole group and wait for the process."""
        if self.popen and self.popen.poll() is None:
            os.killpg(self.pid, number)
            self.popen.wait(60)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Kill the process for the length of the block; it is started again after a failure too."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    def ask_to_stop(self, seconds: float = 60) -> int:
        """Send SIGTERM to the process alone, as a supervisor does, and return the exit code."""
        assert self.popen is not None
        self.popen.terminate()
        return self.popen.wait(seconds)

    def output(self) -> str:
        return self.log.read_text(errors="replace")


class Breakable(Running):
    """An embedded server that a test may kill and start again on its data."""

    def __init__(self, server: Server, folder: Path) -> None:
        super().__init__(list(server.argv), dict(server.env or {}), folder / f"{server.name}.log")
        self.server = server
        self.url = server.url

    def start(self) -> None:
        self.server.prepare()
        super().start()
        until(self.server.ready, 60, f"{self.server.name} ready")


class Web(Running):
    """One of the two gunicorn processes."""

    def __init__(self, name: str, settings: Settings, log: Path, **extra: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._path = "/hub/health" if name == "hub" else "/health/live"
        port = {"hub": "WEBSOCKET_PORT", "rest": "API_PORT"}[name]
        argv = [sys.executable, "-m", "gunicorn", "-c", f"config/gunicorn/{name}.py", f"wsgi:{name}()"]
        environ = {**environ_of(settings, READER), "EVENTLET_NO_GREENDNS": "yes", port: str(self.port)}  # as `up` with its own servers
        super().__init__(argv, {**environ, **extra}, log)

    def start(self) -> None:
        super().start()
        self.await_ready()

    @contextmanager
    def popen_only(self) -> Iterator[Self]:
        """Start the process and do not wait until it answers."""
        super().start()
        try:
            yield self
        finally:
            self.kill()

    def await_ready(self) -> None:
        until(self._answers, 60, f"an answer of {self.argv[-1]}")

    def metric(self, name: str) -> int:
        """Return the value of a metric of this process, summed over its labels."""
        with urllib.request.urlopen(f"{self.url}/hub/metrics", timeout=60) as answer:  # noqa: S310
            text = answer.read().decode()
        return sum(int(float(number)) for number in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE))

    def _answers(self) -> bool:
        assert self.popen is not None
        assert self.popen.poll() is None, self.output()[-3000:]
        try:
            with urllib.request.urlopen(self.url + self._path, timeout=5) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def jobs(settings: Settings, log: Path, **extra: str) -> Running:
    """Return the jobs process, not started."""
    return Running([sys.executable, "-m", "jobs.scheduler"], {**environ_of(settings, WRITER), **extra}, log)


def observer(settings: Settings, log: Path, **extra: str) -> Running:
    """Return an observer process, not started."""
    return Running([sys.executable, "-m", "jobs.observer"], {**environ_of(settings, WRITER), **extra}, log)


def books(settings: Settings, log: Path, **extra: str) -> Running:
    """Return a process of the books, not started."""
    return Running([sys.executable, "-m", "jobs.books"], {**environ_of(settings, WRITER), **extra}, log)


def environ_of(settings: Settings, role: str = OWNER) -> dict[str, str]:
    """Return the servers and directories of these settings as variables, for a role of the store.

    There is no source, and retention is off: recordings of any age stay. A stopped hub closes all
    clients at once, as under `up`. It is noon in the zone of the observer's day.
    """
    return {
        **{f"RETENTION_{table}": "0" for table in ("PRICES", "TRADES", "CANDLES")},
        "DATABASE_URL": as_role(str(settings.database_url), role),
        "REDIS_URL": str(settings.redis_url),
        "HUB_DATA_DIR": str(settings.hub_data_dir),
        "SOURCES": "",
        "OBS_DAY_ZONE": OBS_DAY_ZONE,
        "HUB_DRAIN_DELAY": "0",
        "HUB_DRAIN_SECONDS": "0",
    }
