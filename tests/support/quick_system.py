"""Jobs, a hub and REST of `tests.support.quick`, on the servers of the session."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from config import settings as settings_module
from config.settings import Settings
from db.bus import Bus
from db.timestamps import utc_now
from jobs import health
from ops.running import RunFile
from ops.status import report
from tests.conftest import until
from tests.support.answers import get
from tests.support.processes import Running, Web, environ_of
from tests.support.quick_timing import QUICK


@dataclass(frozen=True, slots=True)
class QuickSystem:
    """The running processes, and the folder whose files cause faults."""

    settings: Settings
    operator_url: str  # of Redis, for a user with every right
    jobs: Running
    hub: Web
    rest: Web
    faults: Path

    @contextmanager
    def fault(self, name: str) -> Iterator[None]:
        """Cause a fault of `tests.support.quick` for the block."""
        file = self.faults / name
        file.touch()
        try:
            yield
        finally:
            file.unlink()

    def get(self, path: str = "/health") -> tuple[int, Any]:
        """Status and JSON of a REST response; status 0 if there is none."""
        status, body = get(self.rest.url, path)
        return status, orjson.loads(body) if body else {}

    def fails(self, part: str) -> bool:
        """Return True if `/health` is 503 and names the part."""
        status, body = self.get()
        return status == 503 and part in body["failing"]

    def works(self) -> bool:
        """Return True if `/health` is 200."""
        return self.get()[0] == 200

    def status(self) -> dict[str, Any]:
        """The report that `manage.py status` prints."""
        pids = {"jobs": self.jobs.pid, "hub": self.hub.pid, "rest": self.rest.pid}
        run = RunFile(self.rest.url, self.hub.url, str(self.settings.database_url), str(self.settings.redis_url), pids)
        return report(run, utc_now().timestamp(), [self.hub.url], hub_seconds=0.5)

    def jobs_health(self) -> dict[str, str]:
        """The failing parts that `python -m jobs.health` prints."""
        bus = Bus(str(self.settings.redis_url), utc_now, timeout=QUICK.limit)
        try:
            return health.failing_parts(self.settings, bus, utc_now(), QUICK)
        finally:
            bus.close()


def quick_web(name: str, settings: Settings, log: Path, faults: Path, **extra: str) -> Web:
    """Return a web process of `tests.support.quick`, not started."""
    web = Web(name, settings, log, FAULTS=str(faults), **extra)
    web.argv[-1] = f"tests.support.quick:{name}()"
    return web


def quick_jobs(settings: Settings, log: Path, faults: Path, **extra: str) -> Running:
    """Return a jobs process of `tests.support.quick`, not started."""
    environ = {**environ_of(settings), "FAULTS": str(faults), **extra}
    return Running([sys.executable, "-m", "tests.support.quick"], environ, log)


@contextmanager
def quick_system(settings: Settings, operator_url: str, folder: Path) -> Iterator[QuickSystem]:
    """Start the processes with a fast synthetic source, and wait until `/health` is 200."""
    faults = folder / "faults"
    faults.mkdir()
    synthetic = {"SOURCES": "synthetic", "INGESTION_INTERVAL_SECONDS": "0.2", "BATCH_TIMEOUT": "100"}
    jobs = quick_jobs(settings, folder / "jobs.log", faults, **synthetic)
    hub = quick_web("hub", settings, folder / "hub.log", faults)
    rest = quick_web("rest", settings, folder / "rest.log", faults)
    sources = settings_module.load({"SOURCES": "synthetic"}, dotenv=None).sources
    with ExitStack() as stack:
        stack.enter_context(jobs)
        stack.enter_context(hub.popen_only())
        stack.enter_context(rest.popen_only())
        hub.await_ready()
        rest.await_ready()
        system = QuickSystem(replace(settings, sources=sources), operator_url, jobs, hub, rest, faults)
        until(lambda: "synthetic" in system.get()[1].get("sources", {}) and system.works(), 60, lambda: f"health: {system.get()}")
        yield system
