"""Start of every process: settings, logs, checks of the servers, bus and store."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib.util import find_spec
from typing import cast

from config.logs import setup as logs
from config.loops import PROCESS_END, UNFIT_CODE
from config.process.fanout_loop import EXTENSION, MISSING, C
from config.settings import Settings
from db.bus import Bus, LayoutDiffers, Shared
from db.postgres import Pooler, Store
from db.replicas import Replica
from db.timestamps import utc_now
from ops import checks, log_forwarder
from ops.bus.setup import setup_of
from ops.process import Unfit

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Started:
    """The settings, the bus and the store of a process; no connection is open yet."""

    settings: Settings
    bus: Bus
    store: Store


def prepare(service: str) -> Settings:
    """Return the settings of this process, with its logs configured.

    Exits with 2 if the settings are invalid.
    """
    return logs.started(service)


def start(service: str, *, waits_for_database: bool = False) -> Started:
    """Return settings, bus and store of the process `service`, after the checks of both servers.

    Exits with 2 if the settings are invalid or a server is unfit, and with 1 if they name no
    servers: only `manage.py up` starts its own. A server without an answer is no reason to end.
    With `waits_for_database` this function returns when the database has answered. The log records
    of the process go to the bus from now on.
    """
    settings = prepare(service)
    records = logs.keep_records(service)  # from the first check on
    if service == "hub":
        _require_fanout_loop(settings)  # it may wait long for its servers
    servers = checks.own_servers(settings, service)
    if len(servers) < 2:
        raise SystemExit(missing_servers(service))
    checks.check_process(service, servers, waits_for_database=waits_for_database)
    bus = open_bus(settings, shared=Shared(layout_differs=_end))
    log_forwarder.start(records, bus)
    return Started(settings, bus, open_store(settings, service))


def check_fanout_loop(settings: Settings) -> None:
    """Raise `Unfit` if the hubs would need an extension that is not installed."""
    if settings.fanout_loop == C and find_spec(EXTENSION) is None:
        raise Unfit(MISSING)


def _require_fanout_loop(settings: Settings) -> None:
    try:
        check_fanout_loop(settings)
    except Unfit as error:
        log.error("%s", error)
        raise SystemExit(UNFIT_CODE) from None


def missing_servers(service: str) -> str:
    """Return the text for an operator who starts `service` without servers."""
    verb = "need" if service.endswith("s") else "needs"
    return f"{service} alone {verb} DATABASE_URL (or DB_*) and REDIS_URL (or REDIS_*); `manage.py up` brings its own servers"


def open_bus(settings: Settings, url: str | None = None, shared: Shared | None = None) -> Bus:
    """Return the bus at `url`, by default that of the settings."""
    return Bus(url or str(settings.redis_url), utc_now, setup=setup_of(settings, url), limit=settings.stream_max_length, shared=shared)


def _end(error: LayoutDiffers) -> None:
    """End this process: the bus has got another number of shards. Each reconnect calls this."""
    if PROCESS_END.code is None:
        log.error("%s", error)
    PROCESS_END(UNFIT_CODE)


def open_replica(settings: Settings, service: str) -> Replica | None:
    """Return the read replicas of the settings, not looked at yet; None without any."""
    url = settings.database_read_url
    return Replica(url, open_store(settings, service, url=url), settings.read_max_lag_seconds) if url else None


def open_store(settings: Settings, service: str, *, url: str | None = None, pool_max: int | None = None) -> Store:
    """Return the store at `url`, by default that of the settings for `service`.

    PostgreSQL shows its connections as `tickwire-SERVICE`.
    """
    return Store(
        url or str(settings.database_of(service)[0]),
        pool_max=settings.db_pool_max if pool_max is None else pool_max,
        timeout_ms=settings.db_timeout_ms,
        application=f"tickwire-{service}",
        pooler=cast(Pooler, settings.pooler_of(service)),
    )
