"""The hub with a fault: `gunicorn -c config/gunicorn/hub.py 'tests.integration.broken_hub:hub()'`.

While the file `FAULT_FILE` exists, `Events.connected` raises the built-in exception that the file
names.
"""

from __future__ import annotations

import builtins
import os
from pathlib import Path
from typing import Any

import wsgi
from api.hub.events import Events


def hub() -> Any:
    """Return the hub with the fault."""
    fault, connected = Path(os.environ["FAULT_FILE"]), Events.connected

    def broken(self: Events, *arguments: Any) -> None:
        if fault.exists():
            raise getattr(builtins, fault.read_text())("a fault of the hub")
        connected(self, *arguments)

    Events.connected = broken  # type: ignore[method-assign, assignment]
    return wsgi.hub()
