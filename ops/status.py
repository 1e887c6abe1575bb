"""The state of a running system: its processes, its hubs, its health, its sources."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psutil

from config.settings import SourceSpec, mask_url
from config.venues import with_prices
from db.bus import PLAIN, Bus, BusError, BusSetup
from db.scenarios.files import has_books
from db.timestamps import utc_now
from health.reporter import lives
from health.reports import ProcessTable, Report
from health.sources import reported_sources
from health.timing import DEFAULT
from health.verdict import DEGRADED, HEALTHY, acting_reports, source_reports
from ops.running import RunFile, get

FINE = (HEALTHY, DEGRADED)
HUB_SECONDS = 3.0  # for the answer of a hub
UNAUTHORIZED = 401


@dataclass(frozen=True, slots=True)
class ProcessState:
    """One process of `run.json`; `uptime_seconds` is None if it has ended."""

    name: str
    pid: int
    uptime_seconds: float | None


def states(running: RunFile, now: float) -> list[ProcessState]:
    """Return the state of each process; `now` is in Unix seconds."""
    return [ProcessState(name, pid, _uptime(pid, now)) for name, pid in running.pids.items()]


def _uptime(pid: int, now: float) -> float | None:
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else now - process.create_time()
    except psutil.NoSuchProcess:
        return None


def health(running: RunFile, key: str | None = None) -> dict[str, Any]:
    """Return the answer of `GET /health`; `{"status": "unreachable"}` if there is none."""
    return health_of(running.rest, key) or {"status": "unreachable"}


def health_of(url: str, key: str | None = None) -> dict[str, Any] | None:
    """Return the answer of `GET /health` of the REST at `url`; None if there is none.

    A key with the scope `observe` adds details. A refused key leaves them out.
    """
    status, body = get(url, "/health", seconds=10.0, key=key)
    if status == UNAUTHORIZED:
        status, body = get(url, "/health", seconds=10.0)
    try:
        answer = json.loads(body)
    except ValueError:
        return None
    return answer if status and isinstance(answer, dict) and "status" in answer else None


def report(
    running: RunFile,
    now: float,
    hub_urls: Sequence[str],
    hub_seconds: float = HUB_SECONDS,
    key: str | None = None,
    setup: BusSetup = PLAIN,
) -> dict[str, Any]:
    """Return the state of the system, with passwords masked; `now` is in Unix seconds.

    `hub_urls` are the addresses that `up` gave to its hubs. Hubs of the process registry are added.
    Each must answer within `hub_seconds`. `key` is for the details of health, `setup` is
    that of the bus.
    """
    processes, reported = states(running, now), health(running, key)
    alive = [process.uptime_seconds is not None for process in processes]
    registered = processes_of(running.redis_url, now, setup)
    hubs = hub_answers([*hub_urls, *(str(url) for each in registered if (url := each.get("url")))], hub_seconds)
    return {
        "running": any(alive),
        "healthy": all(alive) and reported["status"] in FINE and all(hubs.values()),
        "rest": running.rest,
        "hub": running.hub,
        "database_url": mask_url(running.database_url),
        "redis_url": mask_url(running.redis_url),
        "processes": {process.name: {"pid": process.pid, "uptime_seconds": process.uptime_seconds} for process in processes},
        "hubs": hubs,
        "registry": registered,
        "health": reported,
    }


def hub_answers(urls: Sequence[str], seconds: float) -> dict[str, bool]:
    """Hub -> True if it answers `/hub/health` with 200 in time; all are requested at once."""
    distinct = list(dict.fromkeys(urls))
    with ThreadPoolExecutor(max(1, len(distinct))) as threads:
        answered = threads.map(lambda url: get(url, "/hub/health", seconds=seconds)[0] == 200, distinct)
        return dict(zip(distinct, answered, strict=True))


def processes_of(redis_url: str, now: float, setup: BusSetup = PLAIN) -> list[dict[str, Any]]:
    """Return the expected processes of the registry; empty if Redis is unavailable."""
    table = read_table(redis_url, now, setup)
    found = []
    for process in sorted(table.expected(), key=lambda each: each.name):
        report = process.report
        found.append(
            {
                "name": process.name,
                "pid": report and report.body.get("pid"),
                "host": report and report.body.get("host"),
                "acting": bool(report and report.acting),
                "down": process.is_down(DEFAULT.down),
                "age_seconds": round(process.age_seconds, 3),
                "failing": dict(report.failing) if report else {},
                "url": report and report.part("hub").get("url"),
            }
        )
    return found


def read_table(redis_url: str, now: float, setup: BusSetup = PLAIN) -> ProcessTable:
    """Return the process registry; empty if Redis is unavailable."""
    table = ProcessTable()
    bus = Bus(redis_url, utc_now, setup=setup, timeout=DEFAULT.limit)
    try:
        table.update(bus.processes(int(now * 1000)), int(now * 1000))
    except BusError:
        return table
    finally:
        bus.close()
    return table


def sources_report(running: RunFile, sources: Sequence[SourceSpec], now: float, setup: BusSetup = PLAIN) -> bool:
    """Return True if an acting jobs process has reported each source with prices, and synthetic
    prices, and REST shows them.

    A synthetic source that is down or over has no price to wait for.
    """
    processes = read_table(running.redis_url, now, setup).expected()
    down = [each.name for each in processes if each.is_down(DEFAULT.down)]
    acting = [each for each in acting_reports(processes, down) if each.role == "jobs" and each.name not in down]
    if not acting or _has_ended(acting[0]):
        return False
    living = [each for each in source_reports(processes, acting) if each.name not in down and not _has_ended(each)]
    reported = reported_sources(living, down)
    if not all(spec.name in reported for spec in with_prices(sources, has_books)):
        return False
    synthetic = reported.get("synthetic")
    if synthetic and not synthetic.get("ticks") and synthetic.get("state") not in ("down", "ended"):
        return False
    shown = health(running)
    return "jobs" not in shown.get("failing", ["jobs"]) and set(reported) <= set(shown.get("sources") or ())


def _has_ended(report: Report) -> bool:
    """Return True for the last report of a process of this host that was killed."""
    return report.body.get("host") == socket.gethostname() and not lives(report, own_pid=0)
