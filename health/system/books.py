"""The settings in the answers about order books, the same for REST, the hub and the commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from config.settings import Settings
from config.urls import url_of, websocket_of
from db.figures.server_status import StatusConfiguration, current_scenario

BOOKS_ROLE = "books"  # of the process, and the name of its part of the report
BOOKS_ROUTE, METRICS_ROUTE = "/ws", "/ws/metrics"  # of the hub


def socket_url(settings: Settings, route: str) -> str:
    """Return the URL of a plain WebSocket of the hub: `ws://127.0.0.1:5001/ws`.

    `HUB_PUBLIC_URL` replaces the address of the hub; it may have a path.
    """
    return websocket_of(settings.hub_public_url or url_of(settings.websocket_host, settings.websocket_port), route)


def configuration_of(settings: Settings) -> StatusConfiguration:
    """Return the settings in `/status`."""
    return StatusConfiguration(
        host=settings.api_host,
        port=settings.api_port,
        websocket=socket_url(settings, BOOKS_ROUTE),
        scenario=settings.scenario,
        heartbeat_interval=settings.heartbeat_interval,
    )


def scenario_of(settings: Settings, heartbeat: Mapping[str, Any] | None, change: Mapping[str, Any] | None) -> str:
    """Return the scenario that is played; `SCENARIO` if none is.

    `change` is the last switch, which may be newer than the last heartbeat.
    """
    if not settings.plays_scenarios:
        return settings.scenario
    return current_scenario(heartbeat, change, settings.scenario)
