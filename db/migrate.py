"""Migrate a database: apply the numbered SQL files in `migrations/`, each once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg2
from yoyo import get_backend, read_migrations
from yoyo.exceptions import LockTimeout

from db.postgres import StoreError, first_line

_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK_SECONDS = 60


def apply(database_url: str) -> list[str]:
    """Apply the missing migrations and return their names.

    Concurrent calls run one after the other. Each migration is one transaction. Raises
    `StoreError` if the database cannot be reached or rejects a migration.
    """
    backend = None
    try:
        backend = get_backend(database_url)
        with backend.lock(timeout=_LOCK_SECONDS):
            missing = backend.to_apply(read_migrations(str(_MIGRATIONS)))
            backend.apply_migrations(missing)
            return [migration.id for migration in missing]
    except (psycopg2.Error, LockTimeout) as error:
        raise StoreError(first_line(error)) from error
    finally:
        _close(backend)


def _close(backend: Any) -> None:
    connection = getattr(backend, "connection", None)
    if connection is not None:
        connection.close()
