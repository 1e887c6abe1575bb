"""SQL of `revoked_tokens`: single tokens by `jti`, and earlier tokens of a subject."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class RevokedToken:
    """A revocation: of the token `jti`, or of each token of `sub` issued before `before`."""

    jti: str | None
    sub: str | None
    before: datetime | None
    expires: datetime
    changed: int
