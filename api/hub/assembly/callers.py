"""Access control of the hub, and the limits of callers."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from api.access.connections import ConnectionCounts
from api.access.model import Authenticator
from api.access.peers import Peers
from api.hub.rights.limits import HubLimits
from api.hub.transport.limits.callers import CallerBuckets
from api.refresh.service import AccessControl
from api.refresh.table import ANSWER_SECONDS
from config.settings import Settings
from db.bus import Bus
from db.postgres import Store


class Callers(NamedTuple):
    """Access control, and the limits of callers."""

    access: AccessControl
    authenticator: Authenticator
    peers: Peers
    limits: HubLimits


def make_callers(
    settings: Settings, bus: Bus, store: Store, clock: Callable[[], datetime], authenticator: Authenticator | None = None
) -> Callers:
    """Return access control. `authenticator` replaces that of the settings."""
    access = AccessControl(settings, bus.with_timeout(ANSWER_SECONDS), store, clock, "hub")
    peers = Peers(settings.trusted_proxies)
    per_address = settings.rate_connections_per_ip
    connections = ConnectionCounts(settings.rate_connections, per_address, time.monotonic, peers, access.audit, retry_after)
    limits = HubLimits(connections, CallerBuckets(settings.rate_events, time.monotonic), access.audit)
    return Callers(access, authenticator or access.authenticator, peers, limits)


def retry_after() -> float:
    """Return seconds with jitter, so that refused clients do not come back all at once."""
    return round(random.uniform(5.0, 15.0), 2)  # noqa: S311
