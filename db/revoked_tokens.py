"""SQL of `revoked_tokens`: single tokens by `jti`, and earlier tokens of a subject."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from db.postgres import Cursor, scalar


@dataclass(frozen=True, slots=True)
class RevokedToken:
    """A revocation: of the token `jti`, or of each token of `sub` issued before `before`.

    Every token that it concerns has expired at `expires`.
    """

    jti: str | None
    sub: str | None
    before: datetime | None
    expires: datetime
    changed: int = 0


def tokens_changed_after(cursor: Cursor, changed: int) -> list[RevokedToken]:
    """The revocations with a higher number, in their order."""
    cursor.execute("SELECT jti, sub, before, expires, changed FROM revoked_tokens WHERE changed > %s ORDER BY changed", (changed,))
    return [RevokedToken(*row) for row in cursor.fetchall()]


def insert_revocation(cursor: Cursor, token: RevokedToken, now: datetime) -> int:
    """Insert a revocation and return the number of the change. Call `lock_access` first."""
    cursor.execute(
        "INSERT INTO revoked_tokens (jti, sub, before, expires, created, changed)"
        " VALUES (%s, %s, %s, %s, %s, nextval('access_changes')) RETURNING changed",
        (token.jti, token.sub, token.before, token.expires, now),
    )
    return int(scalar(cursor))
