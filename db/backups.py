"""Facts and row counts of a whole database, for a backup and after a restore."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2 import extensions, sql

from db.migrate import applied, known
from db.postgres import Connection, StoreError, first_line, scalar
from db.timescaledb import extension_version

# Tables of ours: no partitions, no members of an extension, none of the migrations.
_TABLES = """
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND c.relname !~ '^_?yoyo_'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1
"""
# The roles that rights name, besides the owner.
_ROLES = """
SELECT DISTINCT r.rolname FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid
WHERE d.refclassid = 'pg_authid'::regclass AND d.deptype IN ('a', 'i') AND r.rolname !~ '^pg_' AND NOT r.rolsuper
  AND r.rolname <> current_user AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (d.classid <> 'pg_database'::regclass) ORDER BY 1
"""
_OBJECTS = """
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_namespace'::regclass AND d.objid = n.oid AND d.deptype = 'e')
"""


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """Versions and names of a database; `timescaledb` is None without that extension."""

    version: str  # as the server writes it, such as 18.4
    timescaledb: str | None
    owner: str  # our role
    roles: tuple[str, ...]  # others with rights on our objects
    migrations: tuple[str, ...]  # the applied ones

    @property
    def major(self) -> int:
        """The major version of the server."""
        return major_of(self.version)


@dataclass(frozen=True, slots=True)
class Target:
    """A database into which a backup may be restored."""

    objects: int  # tables, views and sequences that are not of an extension
    timescaledb: str | None  # the installed version
    timescaledb_versions: tuple[str, ...]  # those that can be installed
    roles: tuple[str, ...]  # of the whole server
    version: str


def major_of(version: str) -> int:
    """Return 18 for `18.4 (Debian 18.4-1)`; 0 if the text has no number."""
    digits = version.split(".", 1)[0].split(" ", 1)[0]
    return int(digits) if digits.isdigit() else 0


def without_password(url: str) -> tuple[str, str | None]:
    """Return the connection string of libpq without its password, and the password.

    Raises `StoreError` for a password of a private key, which only a command line could pass on.
    """
    try:
        parts = extensions.parse_dsn(url)
    except psycopg2.ProgrammingError as error:
        raise StoreError(first_line(error)) from error
    if "sslpassword" in parts:
        raise StoreError("a URL with sslpassword cannot be used here: keep the key without a password, readable for its owner alone")
    password = parts.pop("password", None)
    return extensions.make_dsn(**parts), password


class DatabaseSnapshot:
    """One moment of a database, which `pg_dump --snapshot` and the row counts share.

    It lasts until `close`. Every method raises `StoreError`.
    """

    def __init__(self, url: str) -> None:
        self._connection = _connect(url)
        try:
            self._connection.set_session(isolation_level=extensions.ISOLATION_LEVEL_REPEATABLE_READ, readonly=True)
            self.name = str(self._value("SELECT pg_export_snapshot()"))
        except BaseException:
            self._connection.close()
            raise

    def facts(self) -> DatabaseFacts:
        """Return versions and names."""
        version = self._connection.get_parameter_status("server_version") or "?"
        with _translated(), self._connection.cursor() as cursor:
            extension, migrations = extension_version(cursor), tuple(applied(cursor))
        roles = tuple(str(name) for (name,) in self._rows(_ROLES))
        return DatabaseFacts(version, extension, str(self._value("SELECT current_user")), roles, migrations)

    def rows(self) -> dict[str, int]:
        """Return table -> number of its rows, partitions included."""
        names = [str(name) for (name,) in self._rows(_TABLES)]
        count = sql.SQL("SELECT count(*) FROM {}")
        return {name: int(self._value(count.format(sql.Identifier(name)))) for name in names}

    def size_bytes(self) -> int:
        """Return the size of the database on the disk of its server."""
        return int(self._value("SELECT pg_database_size(current_database())"))

    def cancel(self) -> None:
        """Cancel the present statement; another thread may call this."""
        self._connection.cancel()

    def close(self) -> None:
        """End the snapshot."""
        self._connection.close()

    def _rows(self, statement: str | sql.Composed) -> list[tuple[Any, ...]]:
        with _translated(), self._connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def _value(self, statement: str | sql.Composed) -> Any:
        return self._rows(statement)[0][0]


def read_target(url: str) -> Target:
    """Return the facts that decide whether a backup fits this database. Raises `StoreError`."""
    with _cursor(url) as cursor:
        cursor.execute(_OBJECTS)
        objects = int(scalar(cursor))
        installed = extension_version(cursor)
        cursor.execute("SELECT version FROM pg_available_extension_versions WHERE name = 'timescaledb' ORDER BY 1")
        versions = tuple(str(version) for (version,) in cursor.fetchall())
        cursor.execute("SELECT rolname FROM pg_roles ORDER BY 1")
        roles = tuple(str(name) for (name,) in cursor.fetchall())
        cursor.execute("SHOW server_version")
        return Target(objects, installed, versions, roles, str(scalar(cursor)))


def unknown_migrations(names: tuple[str, ...]) -> list[str]:
    """Return those that this version of Tickwire does not have."""
    return sorted(set(names) - set(known()))


@contextmanager
def timescaledb_restore(url: str, version: str | None) -> Iterator[None]:
    """Let TimescaleDB accept the catalogue of a dump during the block; None: without the extension.

    Without it the restored tables look empty (timescaledb #1833, #6526).
    """
    if version is None:
        yield
        return
    with _cursor(url) as cursor:
        cursor.execute("CREATE EXTENSION IF NOT EXISTS timescaledb VERSION %s", (version,))
    with _cursor(url) as cursor:  # a new session, which has the extension loaded
        cursor.execute("SELECT timescaledb_pre_restore()")
    try:
        yield
    finally:
        with _cursor(url) as cursor:
            cursor.execute("SELECT timescaledb_post_restore()")


@contextmanager
def _cursor(url: str) -> Iterator[extensions.cursor]:
    with closing(_connect(url)) as connection, _translated():
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


def _connect(url: str) -> Connection:
    with _translated():
        return psycopg2.connect(url, connect_timeout=10, application_name="tickwire-backup")


@contextmanager
def _translated() -> Iterator[None]:
    """Raise errors of psycopg2 as `StoreError`."""
    try:
        yield
    except psycopg2.Error as error:
        raise StoreError(first_line(error)) from error
