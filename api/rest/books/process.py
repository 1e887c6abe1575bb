"""The process `books` as REST sees it: its last heartbeat and its report."""

from __future__ import annotations

from typing import Any

from api.rest.context import AppContext
from api.rest.routes.sockets import book_socket
from config.settings import Settings
from db.figures.server_status import StatusConfiguration, current_scenario, server_status
from health.system.state import acting_process

_ROLE = "books"


def last_heartbeat(app: AppContext) -> dict[str, Any] | None:
    """Return the last heartbeat with the current scenario. Raises `BusError`.

    The scenario of a heartbeat may be older than a confirmed switch.
    """
    heartbeat = app.bus.latest_heartbeat()
    return None if heartbeat is None else {**heartbeat, "current_scenario": _scenario(app, heartbeat)}


def scenario_now(app: AppContext) -> str:
    """Return the scenario that is played; `SCENARIO` if none is. Raises `BusError`."""
    return _scenario(app, app.bus.latest_heartbeat())


def status_body(app: AppContext, heartbeat: dict[str, Any]) -> dict[str, Any]:
    """Return the body of `/status`."""
    report = acting_process(app.system.processes(), _ROLE)
    return server_status(heartbeat, None if report is None else report.part(_ROLE), configuration_of(app.settings), app.clock())


def configuration_of(settings: Settings) -> StatusConfiguration:
    """Return the settings in `/status`."""
    return StatusConfiguration(
        host=settings.api_host,
        port=settings.api_port,
        websocket=book_socket(settings),
        scenario=settings.scenario,
        heartbeat_interval=settings.heartbeat_interval,
    )


def plays_scenarios(settings: Settings) -> bool:
    """Return True if `SOURCES` contains `scenario`."""
    return any(each.kind == "scenario" for each in settings.sources)


def _scenario(app: AppContext, heartbeat: dict[str, Any] | None) -> str:
    if not plays_scenarios(app.settings):
        return app.settings.scenario
    return current_scenario(heartbeat, app.bus.latest_scenario_change(), app.settings.scenario)
