"""The keys and revoked tokens that have changed, and the lock of every change."""

from __future__ import annotations

from typing import NamedTuple

import psycopg2

from db.api_keys import ApiKey, keys_changed_after
from db.postgres import Cursor, StoreError, first_line, scalar
from db.revoked_tokens import RevokedToken, tokens_changed_after


class AccessChange(NamedTuple):
    """The changed rows, in the order of the changes, and the number of the last change of all."""

    keys: list[ApiKey]
    tokens: list[RevokedToken]
    last: int


def access_changes_after(cursor: Cursor, changed: int) -> AccessChange:
    """The rows whose last change has a higher number; -1 for all.

    Raises `StoreError` if the tables are missing: the database is not migrated.
    """
    # One snapshot: a change between two statements would be lost.
    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    try:
        cursor.execute("SELECT coalesce(greatest((SELECT max(changed) FROM api_keys), (SELECT max(changed) FROM revoked_tokens)), 0)")
        last = int(scalar(cursor))
        return AccessChange(keys_changed_after(cursor, changed), tokens_changed_after(cursor, changed), last)
    except psycopg2.errors.UndefinedTable as error:
        raise StoreError(f"{first_line(error)}: run `python manage.py migrate`") from error


def lock_access(cursor: Cursor) -> None:
    """Let no other transaction change keys or revoked tokens until the end of this one.

    So the numbers of changes become visible in their order.
    """
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext('tickwire access'))")
