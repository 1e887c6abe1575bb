"""`manage.py up` and `migrate`."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from cli.common import API_KEY, ROOT, chosen_settings, database, hub_urls, migrate_database, plain_errors
from config.access.modes import REQUIRED
from config.logs import setup as logs
from config.logs.rotation import Rotation
from config.loops import keep
from config.pacing import Throttle
from config.process.variables import CHILD_OF_UP, variables_of
from config.process.watchdog import Watchdog
from config.secrets import SCRUBBER
from config.settings import Settings, mask_url
from config.urls import url_of
from db import migrate as migrations
from db.rights import READER, WRITER
from ops import access_check, checks, embedded, log_forwarder, running, startup
from ops import status as ops_status
from ops.bus.setup import setup_of
from ops.children import hold_stop_signals
from ops.embedded.postgres import NEWEST, data_version
from ops.reload.reloader import Reloader
from ops.running import RunFile
from ops.servers import EMBEDDED_BUS, EMBEDDED_DATABASE, Server
from ops.supervisor import WATCH, Process, StopAsked, Supervisor

log = logging.getLogger(__name__)

# The modules of ours with which each process starts: those of its command, those that gunicorn
# loads by name, and those that `wsgi.py` imports for it.
_MODULES = {
    "jobs": ("jobs.scheduler",),
    "books": ("jobs.books.__main__",),
    "observer": ("jobs.observer.__main__",),
    "hub": ("wsgi", "config.gunicorn.hub", "config.gunicorn.eventlet_worker", "ops.startup", "api.websocket_server"),
    "rest": ("wsgi", "config.gunicorn.rest", "config.gunicorn.rest_worker", "ops.startup", "api.app"),
}


@click.command()
@click.option("--reload", "reloads", is_flag=True, help="Restart the processes whose files have changed; for development.")
@click.option("--only", multiple=True, type=click.Choice(sorted(_MODULES)), help="Start this process, and those of further --only.")
def up(reloads: bool, only: tuple[str, ...]) -> None:
    """Start the whole system and stay in the foreground.

    If no server is configured, starts an embedded PostgreSQL and Redis under HUB_DATA_DIR. Applies
    migrations, starts the jobs, the books, the observer, HUB_WORKERS hubs and the REST app, each
    with its settings and its role of the database, and restarts each of them if it ends. Prints one
    line beginning with "ready:" once clients can be served, and the command that shows prices.
    Ctrl-C or SIGTERM stops all processes in order. With --only, the servers and the migrations are
    included, and the other processes are left out.
    """
    chosen = chosen_settings("up")
    roles = frozenset(only or _MODULES)
    records = logs.keep_records("up")
    folder = chosen.hub_data_dir
    with plain_errors():
        if "hub" in roles:
            startup.check_fanout_loop(chosen)
        checks.check("up", checks.own_servers(chosen, "up"))
        if chosen.database_url and chosen.database_url != chosen.database_direct_url:  # of the hub and REST
            checks.check("hub", checks.own_servers(chosen, "hub")[:1])
        running.prepare_data_dir(folder)
        with running.locked(folder) as lock:
            running.forget(folder)  # left by an `up` that was killed
            running.check_ports(*running.listeners(chosen, roles))
            hold_stop_signals()
            try:
                with Supervisor(inherit=(lock,)) as supervisor:
                    look = Reloader(ROOT, supervisor).look if reloads else (lambda: None)  # it compares with the files of now
                    system = _bring_up(chosen, supervisor, roles)
                    write = partial(_write_pids, system, folder)
                    supervisor.report(write)
                    if {"jobs", "rest"} <= roles:
                        supervisor.wait_until(partial(_is_served, chosen, system, Throttle(monotonic=time.monotonic)))
                    click.echo(_ready(chosen, system, roles))
                    Watchdog().start()
                    log_forwarder.start(records, startup.open_bus(chosen, system.redis_url))
                    rotation = Rotation(folder / "logs", time.monotonic)
                    keep(WATCH, partial(supervisor.supervise, write, look, rotation.look), lambda: supervisor.stop_asked, sys.exit)
            except StopAsked:
                pass
            finally:
                running.forget(folder)


def _ready(chosen: Settings, system: RunFile, roles: frozenset[str]) -> str:
    """Return the text for the operator once the processes of these roles run."""
    addresses = {"rest": f"REST {system.rest}", "hub": f"hub {' '.join(hub_urls(chosen))}"}
    shown = addresses if len(roles) == len(_MODULES) else {role: addresses.get(role, role) for role in sorted(roles)}
    hint = f"\n{watch_hint(chosen)}" if {"hub", "jobs"} <= roles else ""
    return f"ready: {' '.join(shown.values())}{hint}"


def watch_hint(chosen: Settings) -> str:
    """Return the line with the command that shows prices."""
    key = f"{API_KEY}=KEY " if chosen.auth_mode == REQUIRED else ""
    return f"watch prices: {key}.venv/bin/python manage.py watch"


def _write_pids(system: RunFile, folder: Path, pids: dict[str, int]) -> None:
    replace(system, pids=pids).write(folder)


def _bring_up(chosen: Settings, supervisor: Supervisor, roles: frozenset[str]) -> RunFile:
    if not (chosen.database_url and chosen.redis_url):
        embedded.check(chosen.hub_data_dir, postgres=not chosen.database_url)
    taken = (chosen.api_port, *chosen.hub_ports, *chosen.metrics_ports.values())
    database = None if chosen.database_url else embedded.postgres(chosen.hub_data_dir, avoid=taken, connections=chosen.connections_needed())
    redis = None if chosen.redis_url else embedded.redis(chosen.hub_data_dir, avoid=taken)
    blocked = partial(embedded.no_room, chosen.hub_data_dir)
    if database and (version := data_version(chosen.hub_data_dir)) != NEWEST:
        log.info("the data of PostgreSQL are of an old version: `manage.py upgrade-database` upgrades them", extra={"version": version})
    supervisor.start(*(replace(server, stop_rank=rank, blocked=blocked) for rank, server in ((2, redis), (3, database)) if server))
    database_url = database.url if database else str(chosen.database_direct_url)
    redis_url = redis.url if redis else str(chosen.redis_url)
    database_urls = dict(database.urls) if database else {}  # role -> address
    SCRUBBER.learn((database_url, redis_url, *database_urls.values()))
    checks.check("up", _embedded_servers(chosen, database, redis), embedded=True)
    migrations.apply(database_url)
    if roles & {"hub", "rest"}:
        access_check.check(chosen, "up", database_url)
    env = {**os.environ, "DATABASE_URL": chosen.database_url or database_url, "REDIS_URL": redis_url, CHILD_OF_UP: "1"}
    if database and redis:  # they have addresses; without eventlet's resolver of names, a hub starts a fifth faster
        env["EVENTLET_NO_GREENDNS"] = "yes"
    supervisor.start(*(each for each in processes(chosen, env, database_urls) if each.name.partition("_")[0] in roles))
    rest, hub = url_of(chosen.api_host, chosen.api_port), hub_urls(chosen)[0]
    return RunFile(rest=rest, hub=hub, database_url=database_url, redis_url=redis_url, pids=supervisor.pids)


def _embedded_servers(chosen: Settings, database: embedded.Server | None, redis: embedded.Server | None) -> list[Server]:
    """Return the servers that this `up` has started, for their checks."""
    return [
        *([checks.database_server(database.url, EMBEDDED_DATABASE)] if database else []),
        *([checks.bus_server(redis.url, EMBEDDED_BUS, setup_of(chosen, redis.url))] if redis else []),
    ]


def _is_served(chosen: Settings, system: RunFile, throttle: Throttle) -> bool:
    """Return True once REST shows every configured source, and synthetic prices are on the bus."""
    served = ops_status.sources_report(system, chosen.sources, time.time(), setup_of(chosen, system.redis_url))
    if not served and throttle.due("sources") is not None:
        log.info("waiting for the sources (repeats suppressed for 60 s)", extra={"sources": [spec.name for spec in chosen.sources]})
    return served


def processes(chosen: Settings, env: dict[str, str], database_urls: Mapping[str, str] | None = None) -> tuple[Process, ...]:
    """Return the long-running processes, each with its variables of `env`.

    `database_urls` has an address for each role of the database; it may be empty if one role serves
    all. The jobs stop first, so that clients and store receive their last messages.
    """

    def variables(service: str, role: str) -> dict[str, str]:
        url = (database_urls or {}).get(role)
        port = {"METRICS_PORT": str(chosen.metrics_ports[service])} if service in chosen.metrics_ports else {}
        return {**variables_of(service, env), **({"DATABASE_URL": url} if url else {}), **port}

    drain = {"HUB_DRAIN_DELAY": f"{chosen.hub_drain_delay:g}", "HUB_DRAIN_SECONDS": f"{chosen.hub_drain_seconds:g}"}
    hubs = (
        Process(
            name="hub" if port == chosen.websocket_port else f"hub_{port - chosen.websocket_port + 1}",
            argv=(sys.executable, "-m", "gunicorn", "-c", "config/gunicorn/hub.py", "wsgi:hub()"),
            env={**variables("hub", READER), "WEBSOCKET_PORT": str(port), "HUB_WORKERS": "1", **drain},
            modules=_MODULES["hub"],
            ready=partial(running.answers, url, "/hub/health"),
            stop_seconds=chosen.hub_stop_seconds,
            stop_rank=1,
        )
        for port, url in zip(chosen.hub_ports, hub_urls(chosen), strict=True)
    )
    rest = Process(
        name="rest",
        argv=(sys.executable, "-m", "gunicorn", "-c", "config/gunicorn/rest.py", "wsgi:rest()"),
        env=variables("rest", READER),
        modules=_MODULES["rest"],
        ready=partial(running.answers, url_of(chosen.api_host, chosen.api_port), "/health/live"),
        stop_rank=1,
    )
    jobs, books, observer = (
        Process(name=name, argv=(sys.executable, "-m", module), env=variables(name, WRITER), modules=_MODULES[name], stop_seconds=15)
        for name, module in (("jobs", "jobs.scheduler"), ("books", "jobs.books"), ("observer", "jobs.observer"))
    )
    return (jobs, books, observer, *hubs, rest)


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
