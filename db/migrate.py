"""Migrate a database: apply the numbered SQL files in `migrations/`, each once."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from contextlib import ExitStack, closing
from functools import cache
from pathlib import Path
from typing import Any

import psycopg2

from db import rights
from db.postgres import Cursor, StoreError, first_line, scalar

log = logging.getLogger(__name__)

_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK_SECONDS = 600.0  # for the migrations of another process
_REPORT_SECONDS = 1.0  # between two lines about this wait, and two checks
_ABANDONED_SECONDS = 10.0  # of this wait, before a lock without a session counts as abandoned
_HOLDER = "SELECT pid, ctime FROM yoyo_lock"
# yoyo's sessions have no name. The clock of their process may differ from that of the server. No
# row if the lock has been released meanwhile.
_SESSIONS = """
SELECT (
  SELECT count(*) FROM pg_stat_activity
  WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
    AND application_name = '' AND backend_start < ctime AT TIME ZONE 'UTC' + interval '60 s')
FROM yoyo_lock
"""


def apply(database_url: str) -> list[str]:
    """Apply the missing migrations and return their names.

    Concurrent calls run one after the other. Each migration is one transaction. Afterwards the
    writer and the reader get their rights, if these roles exist. Notices that a migration raises
    are logged. Raises `StoreError` if the database cannot be reached or rejects a migration. Check
    the rights of the role first: yoyo would wait for tables that it may not create.
    """
    from yoyo import get_backend, read_migrations  # most commands and processes migrate nothing

    backend = None
    try:
        backend = get_backend(database_url)
        with ExitStack() as stack:
            _take_lock(backend, stack)
            missing = backend.to_apply(read_migrations(str(_MIGRATIONS)))
            connections = _keep_connections(backend)
            backend.apply_migrations(missing)
            _log_notices(connections)
            _grant_rights(database_url)
            return [migration.id for migration in missing]
    except psycopg2.Error as error:
        raise StoreError(first_line(error)) from error
    finally:
        _close(backend)


@cache
def known() -> tuple[str, ...]:
    """Return the names of all migrations of this version, in their order."""
    return tuple(sorted(path.stem for path in _MIGRATIONS.glob("*.sql") if not path.stem.endswith(".rollback")))


def applied(cursor: Cursor) -> list[str]:
    """Return the names of the migrations that the database has, sorted."""
    cursor.execute("SELECT to_regclass('_yoyo_migration') IS NOT NULL")
    if not scalar(cursor):
        return []
    cursor.execute("SELECT migration_id FROM _yoyo_migration ORDER BY 1")
    return [name for (name,) in cursor.fetchall()]


def unapplied(cursor: Cursor) -> list[str]:
    """Return the names of the migrations of this version that the database lacks, in order."""
    there = set(applied(cursor))
    return [name for name in known() if name not in there]


def _take_lock(backend: Any, stack: ExitStack) -> None:
    """Wait for the lock of the migrations and hold it until the stack ends.

    The lock is a row. A process that was killed leaves it: it is removed if its session has ended.
    Raises `StoreError` after `_LOCK_SECONDS`.
    """
    from yoyo.exceptions import LockTimeout

    began = time.monotonic()
    while True:
        try:
            stack.enter_context(backend.lock(timeout=_REPORT_SECONDS))
            return
        except LockTimeout:
            holder = _rows(backend, _HOLDER)
        if not holder:
            continue
        (pid, since), waited = holder[0], time.monotonic() - began
        log.info("waiting for a migration of pid %s", pid)
        if waited > _ABANDONED_SECONDS and _rows(backend, _SESSIONS) == [(0,)]:
            log.warning("the lock of a migration that has ended is removed", extra={"pid": pid, "since": f"{since}Z"})
            with backend.transaction():
                backend.execute("DELETE FROM yoyo_lock WHERE pid = :pid AND ctime = :since", {"pid": pid, "since": since})
        elif waited > _LOCK_SECONDS:
            raise StoreError(f"a migration of pid {pid} holds its lock since {since} UTC; if it does not run, delete the row of yoyo_lock")


def _rows(backend: Any, statement: str) -> list[tuple[Any, ...]]:
    with backend.transaction():
        return list(backend.execute(statement).fetchall())


def _keep_connections(backend: Any) -> list[Any]:
    """The connections on which the backend will apply migrations.

    yoyo opens and closes one for each migration.
    """
    connections: list[Any] = []
    copy = backend.copy

    def keep() -> Any:
        copied = copy()
        connections.append(copied.connection)
        return copied

    backend.copy = keep
    return connections


def _log_notices(connections: Iterable[Any]) -> None:
    for connection in connections:
        for notice in connection.notices:
            level, _, text = notice.partition(":")
            if level == "NOTICE":
                log.info("%s", text.strip())


def _grant_rights(database_url: str) -> None:
    with closing(psycopg2.connect(database_url)) as connection, connection, connection.cursor() as cursor:
        rights.grant(cursor)


def _close(backend: Any) -> None:
    connection = getattr(backend, "connection", None)
    if connection is not None:
        connection.close()
