"""The settings that the page needs: the body of `/config.json`."""

from __future__ import annotations

from typing import Any

from config.access.modes import AuthMode
from config.settings import Settings
from health.system.books import BOOKS_ROUTE, METRICS_ROUTE, socket_url


def configuration(settings: Settings, auth: AuthMode, version: str, timestamp: str) -> dict[str, Any]:
    """Return the body. All of it comes from the settings, and it contains no secret."""
    return {
        "version": version,
        "api_port": settings.api_port,
        "hub": {"url": settings.hub_public_url, "port": settings.websocket_port},
        "metrics_socket": socket_url(settings, METRICS_ROUTE),
        "book_socket": socket_url(settings, BOOKS_ROUTE),
        "auth": auth,
        "features": features(settings),
        "simulated": simulated(settings),
        "retention_days": {
            "prices": settings.retention_prices,
            "trades": settings.retention_trades,
            "candles": settings.retention_candles,
        },
        "timestamp": timestamp,
    }


def features(settings: Settings) -> list[str]:
    """Return the names of the enabled parts. Reports of bots need no setting."""
    scenarios = settings.plays_scenarios
    enabled = {"market": True, "book": scenarios or bool(settings.book_symbols), "trading": True, "scenarios": scenarios}
    return [name for name, on in enabled.items() if on]


def simulated(settings: Settings) -> str | None:
    """Return the kind of the source that is not live; None if there is none."""
    kinds = {source.kind for source in settings.sources}
    return next((kind for kind in ("scenario", "replay") if kind in kinds), None)
