"""The process `books` as REST sees it: its last heartbeat and its report."""

from __future__ import annotations

from typing import Any

from api.rest.context import AppContext
from config.settings import Settings
from db.bus import Bus
from db.figures.server_status import server_status
from health.system.books import BOOKS_ROLE, configuration_of, scenario_of
from health.system.state import acting_process


def last_heartbeat(settings: Settings, bus: Bus) -> dict[str, Any] | None:
    """Return the last heartbeat with the current scenario. Raises `BusError`.

    The scenario of a heartbeat may be older than a confirmed switch.
    """
    heartbeat = bus.latest_heartbeat()
    return None if heartbeat is None else {**heartbeat, "current_scenario": _scenario(settings, bus, heartbeat)}


def scenario_now(settings: Settings, bus: Bus) -> str:
    """Return the scenario that is played; `SCENARIO` if none is. Raises `BusError`."""
    return _scenario(settings, bus, bus.latest_heartbeat())


def status_body(app: AppContext, heartbeat: dict[str, Any]) -> dict[str, Any]:
    """Return the body of `/status`."""
    report = acting_process(app.system.processes(), BOOKS_ROLE)
    return server_status(heartbeat, None if report is None else report.part(BOOKS_ROLE), configuration_of(app.settings), app.clock())


def _scenario(settings: Settings, bus: Bus, heartbeat: dict[str, Any] | None) -> str:
    return scenario_of(settings, heartbeat, bus.latest_scenario_change() if settings.plays_scenarios else None)
