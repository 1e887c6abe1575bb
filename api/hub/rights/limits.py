"""The limits of callers on this hub: their connections, and the events of all their sessions."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from api.access.audit import Audit, NoAudit
from api.access.connections import ConnectionCounts
from api.access.limits import RATE_EVENTS
from api.access.model import Access, Handshake
from api.errors import ErrorCode, Refusal
from api.hub.clients import Client
from api.hub.transport.limits.bucket import Bucket
from api.hub.transport.limits.callers import CallerBuckets
from config.fields import Rate


@dataclass(frozen=True, slots=True)
class HubLimits:
    """The limits of callers; `audit` receives each refusal."""

    connections: ConnectionCounts
    buckets: CallerBuckets
    audit: Audit

    def open(self, client: str, handshake: Handshake, access: Access) -> Bucket | None:
        """Count a client, and return the bucket that all sessions of its caller share, if any.

        Raises `Refusal` if the caller holds all of its connections.
        """
        self.connections.open(client, handshake.session or client, access, handshake.address)
        return self.buckets.of(access)

    def close(self, client: str) -> None:
        """Release the place of a client that has ended, or was not admitted."""
        self.connections.close(client)

    def charge(self, client: Client, extra: int | None = None) -> None:
        """Take the tokens of an event from the session and from its caller. Raises `Refusal`.

        The first call for an event takes one, which the session has paid with the packet. A second
        one takes the `extra` tokens of its cost.
        """
        if extra == 0:
            return
        bucket = client.bucket
        paid = bucket.paid if extra is None else bucket.take(extra)
        if paid and client.shared is not None:
            bucket = client.shared
            paid = bucket.take(extra or 1)
        if not paid:
            self.audit.limited(client.access, client.address, RATE_EVENTS)
            details = {"retry_after": bucket.retry_after(extra or 1)}
            raise Refusal(ErrorCode.TOO_MANY_REQUESTS, f"More than {bucket.per_second:g} events per second.", details)


def unlimited() -> HubLimits:
    """Return limits that no caller reaches: the buckets of sessions alone apply."""
    connections = ConnectionCounts(sys.maxsize, sys.maxsize, time.monotonic)
    return HubLimits(connections, CallerBuckets(Rate(sys.maxsize, 1), time.monotonic), NoAudit())
