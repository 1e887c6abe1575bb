"""Objects that all views of one app share, kept among Flask's extensions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from flask import Flask, current_app

from api.refresh.service import AccessControl
from config.exposition import Exposition, Families
from config.settings import Settings
from db.bus import Bus
from db.postgres import Store
from db.replicas import Reads
from health.probe import HealthProbe
from health.system.state import SystemReader
from health.watch import Watch

_NAME = "tickwire"


@dataclass(frozen=True, slots=True)
class AppContext:
    """The shared objects of one app.

    `store` is the primary, for health, writes and the answers to them; `reads` may use a replica.
    `clock` returns aware UTC. `brief_bus` is the bus with a short timeout, for health. The health
    routes use `watch`, and `/health/ready` the probes `database` and `redis`, which only read.
    `system` reads the state of all processes. `asyncapi` returns the document of the hub.
    `exposition` has the metrics of this process, `metrics` returns those that `/metrics` answers.
    """

    settings: Settings
    bus: Bus
    brief_bus: Bus
    store: Store
    reads: Reads
    clock: Callable[[], datetime]
    version: str
    started: datetime
    database: HealthProbe
    redis: HealthProbe
    watch: Watch
    system: SystemReader
    access: AccessControl
    exposition: Exposition
    metrics: Callable[[], Families]
    asyncapi: Callable[[], Mapping[str, Any]]


def attach(app: Flask, shared: AppContext) -> None:
    """Store the context in the app."""
    app.extensions[_NAME] = shared


def context() -> AppContext:
    """Return the context of the app that serves the current request."""
    return cast(AppContext, current_app.extensions[_NAME])
