"""SQL about the load of the PostgreSQL server (store layer)."""

from __future__ import annotations

from dataclasses import dataclass

from db.postgres import Cursor, one


@dataclass(frozen=True, slots=True)
class DatabaseLoad:
    """Connections of all clients to our database, and its commits since its creation."""

    connections: int
    commits: int


def database_load(cursor: Cursor) -> DatabaseLoad:
    """Read the load. PostgreSQL updates it about once per second."""
    cursor.execute("SELECT numbackends, xact_commit FROM pg_stat_database WHERE datname = current_database()")
    connections, commits = one(cursor)
    return DatabaseLoad(int(connections), int(commits))
