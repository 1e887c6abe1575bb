"""Keys and revocations in the store, as `manage.py key` and `manage.py token` write them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from config.access.keys import digest_of, new_key
from db.access_changes import lock_access
from db.api_keys import ApiKey, insert_key, revoke_key
from db.bus import Bus
from db.postgres import Store, scalar
from db.revoked_tokens import RevokedToken, insert_revocation
from tests.conformance.http_client import Server
from tests.support.polling import until
from tests.support.tokens import AUDIENCE, ISSUER, SECRET, claims, token

# Variables of a process that requires credentials and accepts tokens.
REQUIRED = {"AUTH": "required", "JWT_ALGORITHMS": "HS256", "JWT_SECRET": SECRET, "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE}
UNKNOWN_KEY = "tw_abcd1234_" + "A" * 43


class Keys:
    """Writes keys and revocations, and announces each change unless `announce` is False."""

    def __init__(self, store: Store, bus: Bus, *, announce: bool = True) -> None:
        self.store = store
        self.bus = bus
        self.announce = announce

    def add(self, scopes: Sequence[str] = ("read",), instruments: Sequence[str] = ("*",), *, expires: datetime | None = None) -> str:
        """Insert a key and return it."""
        key_id, text = new_key()
        row = ApiKey(
            key_id, "a bot", digest_of(text), tuple(scopes), tuple(instruments), (), None, None, None, datetime.now(UTC), "ada", expires
        )  # fmt: skip
        with self.store.transaction() as cursor:
            lock_access(cursor)
            changed = insert_key(cursor, row)
        self._tell(changed)
        return text

    def revoke(self, key: str) -> None:
        """Revoke a key."""
        with self.store.transaction() as cursor:
            lock_access(cursor)
            changed = revoke_key(cursor, id_of(key), datetime.now(UTC))
        self._tell(changed)

    def change(self, key: str, **columns: Any) -> None:
        """Change columns of a key."""
        values = ", ".join(f"{name} = %s" for name in columns)
        with self.store.transaction() as cursor:
            lock_access(cursor)
            statement = f"UPDATE api_keys SET {values}, changed = nextval('access_changes') WHERE id = %s RETURNING changed"  # noqa: S608
            cursor.execute(statement, (*columns.values(), id_of(key)))
            changed = int(scalar(cursor))
        self._tell(changed)

    def revoke_token(self, jti: str | None = None, *, sub: str | None = None) -> None:
        """Revoke one token, or each token of a subject that was issued before now."""
        now = datetime.now(UTC)
        row = RevokedToken(jti, sub, None if sub is None else now, now + timedelta(days=1))
        with self.store.transaction() as cursor:
            lock_access(cursor)
            changed = insert_revocation(cursor, row, now)
        self._tell(changed)

    def _tell(self, changed: int) -> None:
        if self.announce:
            self.bus.announce_access(changed)


def id_of(key: str) -> str:
    """Return the public id of a key."""
    return key.split("_")[1]


COLLECTED = 7200.0  # seconds: the life of a token that is made when the tests are collected


def jwt_of(scopes: Sequence[str] = ("read",), instruments: Sequence[str] = ("*",), *, life: float = 600.0, **changes: Any) -> str:
    """Return a token of `ada` with these rights; it is valid for `life` seconds."""
    now = time.time()
    rights = {"scopes": list(scopes), "instruments": list(instruments)}
    return token("HS256", claims(now, **{"exp": now + life, "tickwire": rights, **changes}))


def read_by(server: Server, key: str) -> str:
    """Wait until the hub has read the key; return it."""
    until(lambda: server.request("GET", "/hub/health", headers={"X-API-Key": key}).status == 200)
    return key
