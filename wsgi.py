"""Entry points for gunicorn: `wsgi:hub()` and `wsgi:rest()`."""

from __future__ import annotations

import gc
from typing import Any

from config import VERSION
from db.timestamps import utc_now
from ops import startup


def hub() -> Any:
    """Return the Socket.IO hub, with its relay running."""
    started = startup.start("hub", waits_for_database=True)
    from api.websocket_server import create_hub

    made = create_hub(started.settings, started.bus, started.store, utc_now)
    _freeze()
    return made


def rest() -> Any:
    """Return the REST application."""
    started = startup.start("rest")
    from api.app import create_app, start_watch

    replica = startup.open_replica(started.settings, "rest")
    app = create_app(started.settings, started.bus, started.store, utc_now, VERSION, replica=replica)
    start_watch(app)
    _freeze()
    return app


def _freeze() -> None:
    """Except the objects of the start from garbage collection.

    A full collection of the hub searches all of them, and stops its loop for 50 to 100 ms. The
    start leaves less than 1 MB of garbage: to search for it costs more than to keep it.
    """
    gc.freeze()
