"""What the views of one app share, kept where Flask keeps extensions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from flask import Flask, current_app

from api.rest.probe import HealthProbe
from config.settings import Settings
from db.bus import Bus
from db.postgres import Store

_NAME = "tickwire"


@dataclass(frozen=True, slots=True)
class AppContext:
    """The app's parts. `clock` gives aware UTC; `database` and `redis` are asked by health alone."""

    settings: Settings
    bus: Bus
    store: Store
    clock: Callable[[], datetime]
    version: str
    started: datetime
    database: HealthProbe
    redis: HealthProbe


def attach(app: Flask, parts: AppContext) -> None:
    """Give the app its parts."""
    app.extensions[_NAME] = parts


def context() -> AppContext:
    """The parts of the app that serves the current request."""
    return cast(AppContext, current_app.extensions[_NAME])
