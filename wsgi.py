"""Entry points for gunicorn: `wsgi:hub()` and `wsgi:rest()`."""

from __future__ import annotations

from typing import Any

from config import VERSION
from db.timestamps import utc_now
from ops import startup


def hub() -> Any:
    """Return the Socket.IO hub, with its relay running."""
    started = startup.start("hub", waits_for_database=True)
    from api.websocket_server import create_hub

    return create_hub(started.settings, started.bus, started.store, utc_now)


def rest() -> Any:
    """Return the REST application."""
    started = startup.start("rest")
    from api.app import create_app, start_watch

    app = create_app(started.settings, started.bus, started.store, utc_now, VERSION)
    start_watch(app)
    return app
