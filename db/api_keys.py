"""SQL of `api_keys`. Rows are never deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg2
from psycopg2.extras import execute_values

from db.postgres import Cursor, StoreError, first_line, scalar

_COLUMNS = (
    "id, name, digest, scopes, instruments, bots, rate_requests, rate_events, max_connections,"
    " created, created_by, expires, revoked, last_used, changed"
)
ACTIVE, EXPIRED, REVOKED = "active", "expired", "revoked"


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
    expires: datetime | None = None
    revoked: datetime | None = None
    last_used: datetime | None = None
    changed: int = 0

    def state(self, now: datetime) -> str:
        """Return `active`, `expired` or `revoked`."""
        if self.revoked is not None:
            return REVOKED
        return EXPIRED if self.expires is not None and self.expires <= now else ACTIVE


def keys_changed_after(cursor: Cursor, changed: int) -> list[ApiKey]:
    """The keys whose last change has a higher number, in the order of the changes."""
    cursor.execute(f"SELECT {_COLUMNS} FROM api_keys WHERE changed > %s ORDER BY changed", (changed,))  # noqa: S608
    return [_key(row) for row in cursor.fetchall()]


def all_keys(cursor: Cursor) -> list[ApiKey]:
    """Every key, the oldest first."""
    cursor.execute(f"SELECT {_COLUMNS} FROM api_keys ORDER BY created, id")  # noqa: S608
    return [_key(row) for row in cursor.fetchall()]


def key_of(cursor: Cursor, key_id: str) -> ApiKey | None:
    """The key of an id; None if there is none."""
    cursor.execute(f"SELECT {_COLUMNS} FROM api_keys WHERE id = %s", (key_id,))  # noqa: S608
    row = cursor.fetchone()
    return None if row is None else _key(row)


def has_usable_key(cursor: Cursor, now: datetime) -> bool:
    """Return True if a key is neither revoked nor expired.

    Raises `StoreError` if the table is missing: the database is not migrated.
    """
    try:
        cursor.execute("SELECT EXISTS (SELECT FROM api_keys WHERE revoked IS NULL AND (expires IS NULL OR expires > %s))", (now,))
    except psycopg2.errors.UndefinedTable as error:
        raise StoreError(f"{first_line(error)}: run `python manage.py migrate`") from error
    return bool(scalar(cursor))


def insert_key(cursor: Cursor, key: ApiKey) -> int:
    """Insert a key and return the number of the change. Call `lock_access` first."""
    columns = _COLUMNS.split(", ")[:-1]
    values = [_value(getattr(key, column.strip())) for column in columns]
    places = ", ".join(["%s"] * len(values))
    cursor.execute(
        f"INSERT INTO api_keys ({_COLUMNS}) VALUES ({places}, nextval('access_changes')) RETURNING changed",  # noqa: S608
        values,
    )
    return int(scalar(cursor))


def revoke_key(cursor: Cursor, key_id: str, now: datetime) -> int:
    """Revoke a key that exists and return the number of the change. Call `lock_access` first."""
    cursor.execute(
        "UPDATE api_keys SET revoked = %s, changed = nextval('access_changes') WHERE id = %s RETURNING changed",
        (now, key_id),
    )
    return int(scalar(cursor))


def expire_key(cursor: Cursor, key_id: str, expires: datetime) -> int:
    """Set the expiry of a key and return the number of the change. Call `lock_access` first."""
    cursor.execute(
        "UPDATE api_keys SET expires = %s, changed = nextval('access_changes') WHERE id = %s RETURNING changed",
        (expires, key_id),
    )
    return int(scalar(cursor))


def note_uses(cursor: Cursor, uses: Mapping[str, datetime]) -> None:
    """Set the last use of each key, if its present value is at least a minute older.

    The transaction must be one that may write. Rows are locked in the order of their ids:
    processes that note uses of the same keys wait for each other, without a deadlock.
    """
    if not uses:
        return
    execute_values(
        cursor,
        "WITH used (id, at) AS (VALUES %s), due AS (SELECT k.id, used.at FROM api_keys k JOIN used USING (id)"
        " WHERE k.last_used IS NULL OR k.last_used <= used.at - interval '1 minute' ORDER BY k.id FOR NO KEY UPDATE OF k)"
        " UPDATE api_keys SET last_used = due.at FROM due WHERE api_keys.id = due.id",
        list(uses.items()),
        template="(%s, %s::timestamptz)",
    )


def _value(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _key(row: Sequence[Any]) -> ApiKey:
    values = dict(zip((name.strip() for name in _COLUMNS.split(",")), row, strict=True))
    values |= {name: tuple(values[name]) for name in ("scopes", "instruments", "bots")}
    return ApiKey(**values | {"digest": bytes(values["digest"])})
