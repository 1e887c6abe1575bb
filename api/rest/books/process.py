"""The process `books` as REST sees it: its last heartbeat and its report."""

from __future__ import annotations

from typing import Any

from api.rest.context import AppContext
from config.settings import Settings
from config.urls import url_of, websocket_of
from db.bus import Bus
from db.figures.server_status import StatusConfiguration, current_scenario, server_status
from health.system.state import acting_process

BOOKS_ROUTE, METRICS_ROUTE = "/ws", "/ws/metrics"  # of the hub
_ROLE = "books"


def socket_url(settings: Settings, route: str) -> str:
    """Return the URL of a plain WebSocket of the hub: `ws://127.0.0.1:5001/ws`.

    `HUB_PUBLIC_URL` replaces the address of the hub; it may have a path.
    """
    return websocket_of(settings.hub_public_url or url_of(settings.websocket_host, settings.websocket_port), route)


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
    report = acting_process(app.system.processes(), _ROLE)
    return server_status(heartbeat, None if report is None else report.part(_ROLE), configuration_of(app.settings), app.clock())


def configuration_of(settings: Settings) -> StatusConfiguration:
    """Return the settings in `/status`."""
    return StatusConfiguration(
        host=settings.api_host,
        port=settings.api_port,
        websocket=socket_url(settings, BOOKS_ROUTE),
        scenario=settings.scenario,
        heartbeat_interval=settings.heartbeat_interval,
    )


def _scenario(settings: Settings, bus: Bus, heartbeat: dict[str, Any] | None) -> str:
    if not settings.plays_scenarios:
        return settings.scenario
    return current_scenario(heartbeat, bus.latest_scenario_change(), settings.scenario)
