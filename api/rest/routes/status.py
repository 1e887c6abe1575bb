"""Status of the process that keeps the books."""

from __future__ import annotations

from typing import Any

from api.access.model import OBSERVE
from api.errors import ErrorCode
from api.rest.books.process import last_heartbeat, status_body
from api.rest.context import context
from api.rest.errors import ApiError
from api.rest.routing import Routes
from api.rest.schemas.answers import ErrorResponseSchema
from api.schemas.books import ServerStatus

routes = Routes("status", "Status of the books")


@routes.get("/status", ServerStatus, scope=OBSERVE, fails={503: ErrorResponseSchema})
def status() -> Any:
    """Load of the process `books`, states of its books, the scenario that is played.

    503 `unavailable` before the first heartbeat. Always 200 after it, whatever the status: probes
    use `/health`.
    """
    app = context()
    heartbeat = last_heartbeat(app.settings, app.bus)
    if heartbeat is None:
        message = "the process books has sent no heartbeat yet: `manage.py status` shows the processes"
        raise ApiError(503, ErrorCode.UNAVAILABLE, message, {"part": "books"})
    return status_body(app, heartbeat)
