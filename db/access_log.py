"""SQL of `access_log`: changes of keys, and aggregated refusals. It never has a credential."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg2
from psycopg2.extras import Json

from db.api_keys import note_uses
from db.postgres import Cursor, StoreError, first_line

CREATE, REVOKE, ROTATE = "create", "revoke", "rotate"
REFUSE, LIMIT, NEW_ADDRESS = "refuse", "limit", "new_address"


@dataclass(frozen=True, slots=True)
class AccessEvent:
    """One row. `actor` is an operator's account, or `hub` or `rest`. `ip` is an address or None."""

    at: datetime
    actor: str
    action: str
    key_id: str | None = None
    ip: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


_INSERT = "INSERT INTO access_log (at, actor, action, key_id, ip, details) VALUES (%s, %s, %s, %s, %s, %s)"
_INSERT_FIRST_USE = """
INSERT INTO access_log (at, actor, action, key_id, ip, details) SELECT %s, %s, %s, %s, %s::inet, %s
WHERE NOT EXISTS (SELECT FROM access_log WHERE action = 'new_address' AND key_id = %s AND ip IS NOT DISTINCT FROM %s::inet)
"""


def insert_event(cursor: Cursor, event: AccessEvent) -> None:
    """Insert a row. The transaction must be one that may write."""
    cursor.execute(_INSERT, _values(event))


def write_counts(cursor: Cursor, events: Sequence[AccessEvent], uses: Mapping[str, datetime]) -> list[AccessEvent]:
    """Insert the rows of a process, and set the last use of keys (key id -> time).

    A key has one row for its first use from an address, also if several processes send it. Returns
    those that are new. Raises `StoreError` if the tables or the rights are missing.
    """
    cursor.execute("SET TRANSACTION READ WRITE")  # the role of hub and REST reads by default
    try:
        first = []
        _lock_first_uses(cursor, events)
        for event in events:
            if event.action != NEW_ADDRESS:
                insert_event(cursor, event)
            elif _insert_first_use(cursor, event):
                first.append(event)
        note_uses(cursor, uses)
    except (psycopg2.errors.InsufficientPrivilege, psycopg2.errors.UndefinedTable) as error:
        raise StoreError(f"{first_line(error)}: run `python manage.py migrate`") from error
    return first


def _lock_first_uses(cursor: Cursor, events: Iterable[AccessEvent]) -> None:
    """Let one transaction at a time insert first uses: each looks for the rows of the others."""
    if any(event.action == NEW_ADDRESS for event in events):
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('tickwire first uses'))")


def _insert_first_use(cursor: Cursor, event: AccessEvent) -> bool:
    cursor.execute(_INSERT_FIRST_USE, (*_values(event), event.key_id, event.ip))
    return bool(cursor.rowcount)


def events_since(cursor: Cursor, since: datetime | None = None, key_id: str | None = None, *, limit: int = 10_000) -> list[AccessEvent]:
    """The latest rows, at most `limit`, the oldest first.

    `since` and `key_id` select rows from a time on, and rows about one key.
    """
    cursor.execute(
        "SELECT at, actor, action, key_id, host(ip), details FROM access_log"
        " WHERE (%s::timestamptz IS NULL OR at >= %s) AND (%s::text IS NULL OR %s IN (key_id, details->>'new')) ORDER BY at DESC LIMIT %s",
        (since, since, key_id, key_id, limit),
    )
    return [AccessEvent(*row) for row in reversed(cursor.fetchall())]


def _values(event: AccessEvent) -> tuple[object, ...]:
    return event.at, event.actor, event.action, event.key_id, event.ip, Json(dict(event.details))
