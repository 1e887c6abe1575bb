"""The room of clients that receive the alerts of all instruments that they may read."""

from __future__ import annotations

from api.access.model import READ, Access
from api.hub.fanout import Fanout
from api.hub.schemas.requests import ALL
from db.topics import ALERTS_ROOM


class AlertRoom:
    """The part of `subscribe` and `unsubscribe` that is about alerts.

    The room has no rate. Each alert is checked for each receiver (`api/hub/rights/audience.py`).
    """

    def __init__(self, fanout: Fanout) -> None:
        self._fanout = fanout

    def join(self, client: str) -> None:
        """Put the client into the room."""
        self._fanout.join(client, [ALERTS_ROOM])

    def leave(self, client: str) -> None:
        """Take the client out of the room, if it is there."""
        self._fanout.leave(client, [ALERTS_ROOM])

    def held(self, client: str) -> str | None:
        """Return `"all"` if the client is in the room, else None."""
        return ALL if ALERTS_ROOM in self._fanout.rooms(client) else None

    def denied(self, access: Access) -> list[str]:
        """Return the room if the client may not be in it."""
        return [] if access.allows(READ) else [ALERTS_ROOM]
