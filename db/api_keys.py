"""SQL of `api_keys`. Rows are never deleted."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key. Times are aware UTC.

    `instruments` are patterns. `rate_requests` and `rate_events` are texts such as `600/m`. None is
    the setting's default. `changed` is the number of the last change.
    """

    id: str
    name: str
    digest: bytes = field(repr=False)  # SHA-256 of the whole key
    scopes: tuple[str, ...]
    instruments: tuple[str, ...]
    bots: tuple[str, ...]
    rate_requests: str | None
    rate_events: str | None
    max_connections: int | None
    created: datetime
    created_by: str
    expires: datetime | None
    revoked: datetime | None
    last_used: datetime | None
    changed: int
