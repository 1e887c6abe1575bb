"""The state of one client: its fan-out, its rights, and the budget of its session."""

from __future__ import annotations

from dataclasses import dataclass

from api.access.model import Access
from api.hub.fanout import Fanout
from api.hub.transport.limits.bucket import Bucket


@dataclass(frozen=True, slots=True)
class Client:
    """One CONNECT of a namespace. A session that joins two namespaces counts as two clients."""

    id: str  # Socket.IO's sid
    fanout: Fanout  # of its namespace
    access: Access
    bucket: Bucket  # of its session: a further CONNECT gets no new one
    owner: str  # its address, if limits per address apply to it; else empty
