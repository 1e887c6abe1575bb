"""Market sessions: the route."""

from __future__ import annotations

from typing import Any

from api.access.model import READ
from api.rest.context import context
from api.rest.routing import Routes
from api.rest.schemas.answers import SessionsSchema
from db.sessions import all_sessions
from db.timestamps import format_time

routes = Routes("sessions", "Trading hours of markets")


@routes.get("/sessions", SessionsSchema, scope=READ)
def sessions() -> Any:
    """All market sessions, and whether each is open now; daylight saving is considered."""
    app = context()
    rows = app.reads.read(all_sessions)
    now = app.clock()
    found = [
        {
            "name": each.name,
            "zone": each.zone,
            "opens": f"{each.opens:%H:%M}",
            "closes": f"{each.closes:%H:%M}",
            "weekdays": list(each.weekdays),
            "open": each.is_open(now),
        }
        for each in rows
    ]
    return {"sessions": found, "count": len(found), "timestamp": format_time(now)}
