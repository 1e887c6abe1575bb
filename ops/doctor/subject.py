"""The system that is examined: its settings, the addresses of its servers, its `run.json`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from config.settings import Settings
from config.urls import url_of
from ops import checks, running
from ops.bus.setup import setup_of
from ops.running import RunFile
from ops.servers import EMBEDDED_BUS, EMBEDDED_DATABASE, Server

START = "`manage.py up` starts it"
# Remedies of checks that need a server which does not answer.
NEEDS_DATABASE = "start the embedded PostgreSQL with `manage.py up`, or set DATABASE_URL to a server that answers"
NEEDS_BUS = "start the embedded Redis with `manage.py up`, or set REDIS_URL to a server that answers"


@dataclass(frozen=True, slots=True)
class Subject:
    """The examined system. `database` and `bus` are None if an embedded server does not run.

    `pooled` is the database of the hub and REST, if it has another address than `database`.
    `days` has the days for which the rows of a partitioned table are kept; 0: for ever. `key` is
    for requests to REST. `backup` is the directory of a backup. `lacking` has the problems of
    settings that only `up` and the jobs need. `now` returns Unix seconds.
    """

    settings: Settings
    system: RunFile | None
    database: Server | None
    bus: Server | None
    days: Mapping[str, int] = field(default_factory=dict)
    key: str | None = field(default=None, repr=False)
    backup: Path | None = None
    lacking: Mapping[str, str] = field(default_factory=dict)
    now: Callable[[], float] = time.time
    pooled: Server | None = None

    @property
    def rest_url(self) -> str:
        """The address of REST on this machine."""
        return self.system.rest if self.system else url_of(self.settings.api_host, self.settings.api_port)

    @property
    def database_place(self) -> str:
        """The setting that names PostgreSQL, or its description."""
        return self.settings.direct_setting if self.settings.database_url else EMBEDDED_DATABASE

    @property
    def bus_place(self) -> str:
        """The setting that names Redis, or its description."""
        return self.settings.redis_setting if self.settings.redis_url else EMBEDDED_BUS


def subject_of(
    chosen: Settings,
    *,
    days: Mapping[str, int],
    key: str | None,
    backup: Path | None,
    lacking: Mapping[str, str] | None = None,
    now: Callable[[], float] = time.time,
) -> Subject:
    """Return the system of these settings: with the servers of its `run.json`, if it has one."""
    lacking = dict(lacking or {})
    try:
        system = running.read(chosen.hub_data_dir)
    except OSError as error:
        system, lacking["HUB_DATA_DIR"] = None, f"its run.json cannot be read ({error.strerror}): run as its owner."
    database_url = system.database_url if system else chosen.database_direct_url
    redis_url = system.redis_url if system else chosen.redis_url
    pooled = chosen.database_url
    database_setting = chosen.direct_setting if chosen.database_url else EMBEDDED_DATABASE
    bus_setting = chosen.redis_setting if chosen.redis_url else EMBEDDED_BUS
    return Subject(
        chosen,
        system,
        checks.database_server(database_url, database_setting) if database_url else None,
        checks.bus_server(redis_url, bus_setting, setup_of(chosen, redis_url)) if redis_url else None,
        days,
        key,
        backup,
        lacking,
        now,
        checks.database_server(pooled, chosen.database_setting) if pooled and pooled != chosen.database_direct_url else None,
    )
