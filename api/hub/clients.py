"""The state of one client: its fan-out, its rights, and its budget of events."""

from __future__ import annotations

from dataclasses import dataclass

from api.access.model import Access
from api.hub.fanout import Fanout

EVENTS_PER_SECOND = 50.0
EVENTS_AT_ONCE = 200.0


@dataclass(slots=True)
class Client:
    """One CONNECT of a namespace. A session that joins two namespaces counts as two clients."""

    id: str  # Socket.IO's sid
    fanout: Fanout  # of its namespace
    access: Access
    filled: float  # monotonic time of the last filling
    tokens: float = EVENTS_AT_ONCE  # events that the client may still send

    def take_token(self, now: float) -> bool:
        """Return True if the client may send an event at `now` (monotonic seconds)."""
        self.tokens = min(EVENTS_AT_ONCE, self.tokens + (now - self.filled) * EVENTS_PER_SECOND)
        self.filled = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True
