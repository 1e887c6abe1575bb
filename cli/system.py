"""`manage.py up`, `migrate` and `status`."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.common import chosen_settings, database, migrate_database, no_connection, nothing_runs, plain_errors
from config import logs
from config.access.modes import REQUIRED
from config.loops import keep
from config.pacing import Throttle
from config.process.watchdog import Watchdog
from config.secrets import SCRUBBER
from config.settings import CHILD_OF_UP, Settings, mask_url, url_of, variables_of
from db import migrate as migrations
from db.rights import READER, WRITER
from ops import access_check, checks, embedded, log_forwarder, running, startup
from ops import status as ops_status
from ops.children import hold_stop_signals
from ops.running import RunFile
from ops.servers import EMBEDDED_BUS, EMBEDDED_DATABASE, Server
from ops.supervisor import WATCH, Process, StopAsked, Supervisor

log = logging.getLogger(__name__)

_KEY = "TICKWIRE_API_KEY"


@click.command()
def up() -> None:
    """Start the whole system and stay in the foreground.

    If no server is configured, starts an embedded PostgreSQL and Redis under HUB_DATA_DIR. Applies
    migrations, starts the jobs, the observer, HUB_WORKERS hubs and the REST app, each with its
    settings and its role of the database, and restarts each of them if it ends. Prints one line
    beginning with "ready:" once clients can be served, and the command that shows prices. Ctrl-C or
    SIGTERM stops all processes in order.
    """
    chosen = chosen_settings("up")
    records = logs.keep_records("up")
    folder = chosen.hub_data_dir
    with plain_errors():
        checks.check("up", checks.own_servers(chosen))
        running.prepare_data_dir(folder)
        with running.locked(folder) as lock:
            running.forget(folder)  # left by an `up` that was killed
            hubs = [("WEBSOCKET", chosen.websocket_host, port) for port in chosen.hub_ports]
            running.check_ports(("API", chosen.api_host, chosen.api_port), *hubs)
            hold_stop_signals()
            try:
                with Supervisor(inherit=(lock,)) as supervisor:
                    system = _bring_up(chosen, supervisor)
                    write = partial(_write_pids, system, folder)
                    supervisor.report(write)
                    supervisor.wait_until(partial(_is_served, chosen, system, Throttle(monotonic=time.monotonic)))
                    ready = f"ready: REST {system.rest} hub {' '.join(_hub_urls(chosen))}"
                    click.echo(f"{ready}\n{watch_hint(chosen)}")
                    Watchdog().start()
                    log_forwarder.start(records, startup.open_bus(chosen, system.redis_url))
                    keep(WATCH, partial(supervisor.supervise, write), lambda: supervisor.stop_asked, sys.exit)
            except StopAsked:
                pass
            finally:
                running.forget(folder)


def watch_hint(chosen: Settings) -> str:
    """Return the line with the command that shows prices."""
    key = f"{_KEY}=KEY " if chosen.auth_mode == REQUIRED else ""
    return f"watch prices: {key}.venv/bin/python manage.py watch"


def _write_pids(system: RunFile, folder: Path, pids: dict[str, int]) -> None:
    replace(system, pids=pids).write(folder)


def _bring_up(chosen: Settings, supervisor: Supervisor) -> RunFile:
    if not (chosen.database_url and chosen.redis_url):
        embedded.check(chosen.hub_data_dir, postgres=not chosen.database_url)
    taken = (chosen.api_port, *chosen.hub_ports)
    database = None if chosen.database_url else embedded.postgres(chosen.hub_data_dir, avoid=taken)
    redis = None if chosen.redis_url else embedded.redis(chosen.hub_data_dir, avoid=taken)
    blocked = partial(embedded.no_room, chosen.hub_data_dir)
    supervisor.start(*(replace(server, stop_rank=rank, blocked=blocked) for rank, server in ((2, redis), (3, database)) if server))
    database_url = database.url if database else str(chosen.database_url)
    redis_url = redis.url if redis else str(chosen.redis_url)
    database_urls = dict(database.urls) if database else {}  # role -> address
    SCRUBBER.learn((database_url, redis_url, *database_urls.values()))
    checks.check("up", _embedded_servers(database, redis), embedded=True)
    migrations.apply(database_url)
    access_check.check(chosen, "up", database_url)
    env = {**os.environ, "DATABASE_URL": database_url, "REDIS_URL": redis_url, CHILD_OF_UP: "1"}
    if database and redis:  # they have addresses; without eventlet's resolver of names, a hub starts a fifth faster
        env["EVENTLET_NO_GREENDNS"] = "yes"
    supervisor.start(*processes(chosen, env, database_urls))
    rest, hub = url_of(chosen.api_host, chosen.api_port), _hub_urls(chosen)[0]
    return RunFile(rest=rest, hub=hub, database_url=database_url, redis_url=redis_url, pids=supervisor.pids)


def _embedded_servers(database: embedded.Server | None, redis: embedded.Server | None) -> list[Server]:
    """Return the servers that this `up` has started, for their checks."""
    return [
        *([checks.database_server(database.url, EMBEDDED_DATABASE)] if database else []),
        *([checks.bus_server(redis.url, EMBEDDED_BUS)] if redis else []),
    ]


def _is_served(chosen: Settings, system: RunFile, throttle: Throttle) -> bool:
    """Return True once REST shows every configured source, and synthetic prices are on the bus."""
    served = ops_status.sources_report(system, chosen.sources, time.time())
    if not served and throttle.due("sources") is not None:
        log.info("waiting for the sources (repeats suppressed for 60 s)", extra={"sources": [spec.name for spec in chosen.sources]})
    return served


def _hub_urls(chosen: Settings) -> list[str]:
    return [url_of(chosen.websocket_host, port) for port in chosen.hub_ports]


def processes(chosen: Settings, env: dict[str, str], database_urls: Mapping[str, str] | None = None) -> tuple[Process, ...]:
    """Return the long-running processes, each with its variables of `env`.

    `database_urls` has an address for each role of the database; it may be empty if one role serves
    all. The jobs stop first, so that clients and store receive their last messages.
    """

    def variables(service: str, role: str) -> dict[str, str]:
        url = (database_urls or {}).get(role)
        return {**variables_of(service, env), **({"DATABASE_URL": url} if url else {})}

    hubs = (
        Process(
            name="hub" if port == chosen.websocket_port else f"hub_{port - chosen.websocket_port + 1}",
            argv=(sys.executable, "-m", "gunicorn", "-c", "config/gunicorn/hub.py", "wsgi:hub()"),
            env={**variables("hub", READER), "WEBSOCKET_PORT": str(port), "HUB_WORKERS": "1"},
            ready=partial(running.answers, url, "/hub/health"),
            stop_rank=1,
        )
        for port, url in zip(chosen.hub_ports, _hub_urls(chosen), strict=True)
    )
    rest = Process(
        name="rest",
        argv=(sys.executable, "-m", "gunicorn", "-c", "config/gunicorn/rest.py", "wsgi:rest()"),
        env=variables("rest", READER),
        ready=partial(running.answers, url_of(chosen.api_host, chosen.api_port), "/health/live"),
        stop_rank=1,
    )
    jobs = Process(name="jobs", argv=(sys.executable, "-m", "jobs.scheduler"), env=variables("jobs", WRITER), stop_seconds=15)
    observer = Process(name="observer", argv=(sys.executable, "-m", "jobs.observer"), env=variables("observer", WRITER), stop_seconds=15)
    return (jobs, observer, *hubs, rest)


@click.command()
def migrate() -> None:
    """Apply the migrations of the database.

    Uses the configured database; without one, the embedded database of the running system, or
    starts it temporarily.
    """
    chosen = chosen_settings("migrate")
    with plain_errors(), database(chosen) as url:
        names = migrate_database("migrate", chosen, url)
    for name in names:
        click.echo(f"applied {name}")
    click.echo(f"{mask_url(url)} is up to date")


@click.command()
@click.option("--url", metavar="URL", help="Of another REST, instead of the system on HUB_DATA_DIR: shows its health alone.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(url: str | None, as_json: bool) -> None:
    """Show the state of the system and its processes.

    Exits with 0 if every process is alive, every hub answers within 3 s and no part fails, else
    with 1. If REST needs a key, the environment variable TICKWIRE_API_KEY has one with the scope
    `observe`, for the details of the sources.
    """
    chosen = chosen_settings("status")
    if url is not None:
        _show_remote(url.rstrip("/"), as_json)
    system = running.read(chosen.hub_data_dir)
    if system is None:
        click.echo(json.dumps({"running": False, "healthy": False}) if as_json else nothing_runs(chosen))
        sys.exit(1)
    report = ops_status.report(system, time.time(), _hub_urls(chosen), key=os.environ.get(_KEY))
    if as_json:
        click.echo(json.dumps(report))
    else:
        _show(report)
    sys.exit(0 if report["healthy"] else 1)


def _show_remote(url: str, as_json: bool) -> NoReturn:
    """Show the health of the REST at `url` and exit."""
    with plain_errors():
        health = ops_status.health_of(url, os.environ.get(_KEY))
        if health is None:
            raise running.RunError(no_connection(url, "REST"))
    healthy = health["status"] in ops_status.FINE
    if as_json:
        click.echo(json.dumps({"running": True, "healthy": healthy, "rest": url, "health": health}))
    else:
        _show_health(Console(), health)
    sys.exit(0 if healthy else 1)


def _show(report: dict[str, Any]) -> None:
    console = Console()
    table = Table("process", "pid", "alive", "up for")
    for name, state in report["processes"].items():
        up_for = state["uptime_seconds"]
        table.add_row(
            name, str(state["pid"]), "[green]yes" if up_for is not None else "[red]no", "" if up_for is None else f"{up_for:.0f} s"
        )
    console.print(table)
    _show_registry(console, report)
    for name in ("rest", "hub", "database_url", "redis_url"):
        console.print(f"{name}: {report[name]}", highlight=False)
    _show_health(console, report["health"])


def _show_health(console: Console, health: Mapping[str, Any]) -> None:
    shown = {key: value for key, value in health.items() if key not in ("timestamp", "sources")}
    console.print("health: " + ", ".join(_words(key, value) for key, value in shown.items()), highlight=False, markup=False, soft_wrap=True)
    for name, state in (health.get("sources") or {}).items():
        console.print(source_line(name, state), highlight=False, markup=False, soft_wrap=True)
    if hint := details_hint(health, sent=bool(os.environ.get(_KEY))):
        click.echo(hint, err=True)


def details_hint(health: Mapping[str, Any], *, sent: bool) -> str:
    """Return the reason why health has no details; "" if it has them. `sent`: with a credential."""
    hidden = any("since" not in state for state in (health.get("sources") or {}).values())
    if not hidden or not (sent or health.get("auth") == REQUIRED):
        return ""
    return f"details are left out: {_KEY} {'is not accepted, or lacks' if sent else 'is not set to a key with'} the scope observe"


def source_line(name: str, state: Mapping[str, Any]) -> str:
    """Return the line about a source: its state and its last record, by the time of reception.

    Without the scope `observe`, health has the state alone.
    """
    if "since" not in state:
        return f"source {name}: {state.get('state')}"
    age = state.get("age_seconds")
    last = "no record yet" if age is None else f"last record {age:.0f} s ago"
    detail = f": {state['detail']}" if state.get("detail") else ""
    return f"source {name}: {state.get('state')} since {state.get('since')}, {last}{detail}"


def _show_registry(console: Console, report: dict[str, Any]) -> None:
    """Print a row for each process of the registry and for each hub that does not answer."""
    if report["registry"]:
        table = Table("registered", "pid", "acting", "last report", "failing")
        for process in report["registry"]:
            age = f"{max(0.0, process['age_seconds']):.0f} s ago"
            failing = ", ".join(process["failing"])
            table.add_row(
                process["name"],
                str(process["pid"] or ""),
                "yes" if process["acting"] else "no",
                f"[red]down, {age}" if process["down"] else age,
                f"[red]{escape(failing)}" if failing else "",
            )
        console.print(table)
    for url, answers in report["hubs"].items():
        if not answers:
            console.print(f"hub {url} does not answer", style="red", highlight=False, markup=False)


def _words(name: str, value: Any) -> str:
    """Return `writer unstored 3` for `"writer": {"unstored": 3}`, `failing bus hub` for a list."""
    if isinstance(value, list):
        return " ".join([name, *map(str, value)] if value else [name, "none"])
    return " ".join([name, *(f"{key} {each}" for key, each in value.items())] if isinstance(value, dict) else [name, str(value)])
