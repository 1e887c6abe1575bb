"""Credentials of the benchmark: keys in the store, and tokens of two identity services."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

from config.access.keys import digest_of, new_key
from db.access_changes import lock_access
from db.api_keys import ApiKey, insert_key
from db.bus import Bus
from db.postgres import Store
from db.timestamps import utc_now
from tests.bench.fanout import Ground
from tests.support.tokens import AUDIENCE, ISSUER, SECRET, claims, jwks, token

SYMMETRIC, ASYMMETRIC = "HS256", "EdDSA"
RIGHTS = {"scopes": ["read"], "instruments": ["*"], "bots": [], "max_connections": 10_000}
# Limits that the load of the benchmark never reaches.
UNLIMITED = {"RATE_CONNECTIONS": "10000", "RATE_CONNECTIONS_PER_IP": "10000", "RATE_EVENTS": "10000/s", "RATE_REQUESTS": "1000000/s"}


def add_keys(place: Ground, count: int, *scopes: str) -> list[tuple[str, str]]:
    """Insert keys for all instruments; return their ids and the keys."""
    made = [new_key() for _ in range(count)]
    with closing(Store(place.database_url, pool_max=1)) as store, store.transaction() as cursor:
        lock_access(cursor)
        for key_id, text in made:
            key = ApiKey(key_id, "bench", digest_of(text), scopes or ("read",), ("*",), (), None, None, None, utc_now(), "bench")
            changed = insert_key(cursor, key)
    announce(place, changed)
    return made


def announce(place: Ground, changed: int) -> None:
    """Publish the number of the last change, as the commands do."""
    with closing(Bus(place.redis_url, utc_now)) as bus:
        bus.announce_access(changed)


def token_settings(algorithm: str, folder: Path) -> dict[str, str]:
    """Return the variables with which a server accepts the tokens of `tokens`."""
    common = {"JWT_ALGORITHMS": algorithm, "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE, "JWT_LEEWAY_SECONDS": "1"}
    if algorithm == SYMMETRIC:
        return {**common, "JWT_SECRET": SECRET}
    file = folder / "jwks.json"
    file.write_bytes(jwks())
    return {**common, "JWT_JWKS_FILE": str(file)}


def tokens(algorithm: str, count: int, seconds: float = 3600.0) -> list[str]:
    """Return different tokens with all instruments, which expire after `seconds`."""
    now = time.time()
    return [token(algorithm, claims(now, exp=now + seconds, jti=f"{algorithm}-{now}-{number}", tickwire=RIGHTS)) for number in range(count)]
