"""Counts of refusals by access control and by limits, for the metrics of a process. Pure."""

from __future__ import annotations

from api.errors import ErrorCode, Refusal
from db.measures import Counts

MISSING, INVALID, EXPIRED, REVOKED = "missing", "invalid", "expired", "revoked"
SCOPE, INSTRUMENT, HOST, ORIGIN = "scope", "instrument", "host", "origin"
REASONS = (MISSING, INVALID, EXPIRED, REVOKED, SCOPE, INSTRUMENT, HOST, ORIGIN)
LIMITS = ("requests", "events", "connections", "connections_per_ip")

# Reason of an `Unauthorized` -> reason of the metric; all others are `invalid`.
_OF_CREDENTIALS = {"no_credential": MISSING, "expired": EXPIRED, "revoked": REVOKED}


class AccessCounts:
    """Refused requests and events of one process. Any thread may call it.

    `refusals` are by reason, one of `REASONS`; `limited` are by limit, one of `LIMITS`.
    """

    def __init__(self) -> None:
        self.refusals = Counts(*((reason,) for reason in REASONS))
        self.limited = Counts(*((limit,) for limit in LIMITS))

    def refused_credential(self, reason: str) -> None:
        """Count a refused credential; `reason` is that of an `Unauthorized`."""
        self.refusals.add(_OF_CREDENTIALS.get(reason, INVALID))

    def refused(self, reason: str) -> None:
        """Count another refusal: `SCOPE`, `INSTRUMENT`, `HOST` or `ORIGIN`."""
        self.refusals.add(reason)

    def refused_right(self, refusal: Refusal) -> None:
        """Count a refusal for want of a scope or of an instrument; no other refusal counts."""
        if refusal.code == ErrorCode.FORBIDDEN:
            self.refused(SCOPE if "scope" in refusal.details else INSTRUMENT)

    def beyond_limit(self, setting: str) -> None:
        """Count a refusal by the limit of a setting, such as `RATE_REQUESTS`."""
        limit = setting.removeprefix("RATE_").lower()
        if limit in LIMITS:
            self.limited.add(limit)
