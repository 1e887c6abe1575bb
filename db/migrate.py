"""Migrate a database: apply the numbered SQL files in `migrations/`, each once."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
from yoyo import get_backend, read_migrations
from yoyo.exceptions import LockTimeout

from db import rights
from db.postgres import StoreError, first_line

log = logging.getLogger(__name__)

_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK_SECONDS = 60


def apply(database_url: str) -> list[str]:
    """Apply the missing migrations and return their names.

    Concurrent calls run one after the other. Each migration is one transaction. Afterwards the
    writer and the reader get their rights, if these roles exist. Notices that a migration raises
    are logged. Raises `StoreError` if the database cannot be reached or rejects a migration.
    """
    backend = None
    try:
        backend = get_backend(database_url)
        with backend.lock(timeout=_LOCK_SECONDS):
            missing = backend.to_apply(read_migrations(str(_MIGRATIONS)))
            connections = _keep_connections(backend)
            backend.apply_migrations(missing)
            _log_notices(connections)
            _grant_rights(database_url)
            return [migration.id for migration in missing]
    except (psycopg2.Error, LockTimeout) as error:
        raise StoreError(first_line(error)) from error
    finally:
        _close(backend)


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
