"""Databases for tests: a used one is emptied and serves the next test, if its schema is unchanged.

A copy of a database has about 500 files, so that copies cost more than many of the tests.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
from psycopg2 import sql

from tests.support.polling import until

# Everything that a test may change beside rows: columns, rules, rights, functions, settings.
_SCHEMA = """
WITH relations AS (SELECT * FROM pg_class WHERE relnamespace = 'public'::regnamespace AND NOT relispartition)
SELECT md5(string_agg(line, E'\\n' ORDER BY line)) FROM (
    SELECT concat_ws(' ', 'relation', relname, relkind, relpersistence, relacl, reloptions) FROM relations
    UNION ALL
    SELECT concat_ws(' ', 'column', relname, attname, atttypid, attnotnull, attacl, attisdropped)
        FROM pg_attribute JOIN relations r ON r.oid = attrelid WHERE attnum > 0 AND relkind IN ('r', 'p', 'v')
    UNION ALL
    SELECT concat_ws(' ', 'default', relname, adnum, pg_get_expr(adbin, adrelid)) FROM pg_attrdef JOIN relations r ON r.oid = adrelid
    UNION ALL
    SELECT concat_ws(' ', 'constraint', relname, conname, pg_get_constraintdef(c.oid))
        FROM pg_constraint c JOIN relations r ON r.oid = conrelid
    UNION ALL
    SELECT concat_ws(' ', 'function', oid::regprocedure, prosrc, proacl) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL
    SELECT concat_ws(' ', 'trigger', tgrelid::regclass, tgname, tgenabled) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL
    SELECT concat_ws(' ', 'schema', nspname, nspacl, nspowner) FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'
    UNION ALL
    SELECT concat_ws(' ', 'database', datacl, datdba, datconnlimit, datallowconn) FROM pg_database WHERE datname = current_database()
    UNION ALL
    SELECT concat_ws(' ', 'setting', setrole, setconfig)
        FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase WHERE datname = current_database()
) AS lines (line)
"""
_TABLES = """
SELECT relname FROM pg_class
WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace AND NOT relispartition ORDER BY relname
"""
_PARTITIONS = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relispartition AND relnamespace = 'public'::regnamespace ORDER BY 1"
_SEQUENCES = "SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'public' ORDER BY 1"
_OTHERS = """
SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


class Databases:
    """The databases of one server; `url` is the address of `template`, which no test may use."""

    def __init__(self, url: str) -> None:
        self._server, self._template = url.rsplit("/", 1)
        self._names = itertools.count()
        self._free: list[str] = []
        self._tables: dict[str, str | None] = {}  # table -> digest of the rows that the schema brings
        self._sequences: list[tuple[Any, ...]] = []
        self._partitions: list[tuple[Any, ...]] = []
        self._schema = ""

    @contextmanager
    def lent(self) -> Iterator[str]:
        """Yield the address of a database with the schema and no rows of a test."""
        name = self._free.pop() if self._free else self._create()
        try:
            yield f"{self._server}/{name}"
        finally:
            if self._emptied(name):
                self._free.append(name)
            else:
                self._execute("postgres", f"DROP DATABASE {name} WITH (FORCE)")

    def _create(self) -> str:
        name = f"test_{next(self._names)}"
        self._execute("postgres", f"CREATE DATABASE {name} TEMPLATE {self._template} STRATEGY FILE_COPY")
        if not self._schema:
            with self._connected(name) as cursor:
                self._schema = _value(cursor, _SCHEMA)
                cursor.execute(_TABLES)
                self._tables = {table: _digest(cursor, table) for (table,) in cursor.fetchall()}
                self._sequences = _rows(cursor, _SEQUENCES)
                self._partitions = _rows(cursor, _PARTITIONS)
        return name

    def _emptied(self, name: str) -> bool:
        """Remove the rows of the test; return False if it has changed more than rows."""
        try:
            with self._connected(name) as cursor:
                until(lambda: not _rows(cursor, _OTHERS), what=f"the end of the sessions of {name}")
                if _value(cursor, _SCHEMA) != self._schema:
                    return False
                for partition in _rows(cursor, _PARTITIONS):
                    if partition not in self._partitions:
                        _change(cursor, "DROP TABLE {}", *partition)
                # TRUNCATE would make new files. One request for all, because there are 47 tables.
                empty = [sql.Identifier(table) for table, digest in self._tables.items() if digest is None]
                cursor.execute(sql.SQL("; ").join(sql.SQL("DELETE FROM {}").format(table) for table in empty))
                if any(digest is not None and _digest(cursor, table) != digest for table, digest in self._tables.items()):
                    return False
                for name_of_sequence, last in _rows(cursor, _SEQUENCES):
                    if (name_of_sequence, last) not in self._sequences:
                        _change(cursor, "ALTER SEQUENCE {} RESTART", name_of_sequence)
                return _rows(cursor, _SEQUENCES) == self._sequences
        except psycopg2.Error:
            return False

    @contextmanager
    def _connected(self, name: str) -> Iterator[psycopg2.extensions.cursor]:
        with closing(psycopg2.connect(f"{self._server}/{name}")) as connection:
            connection.autocommit = True
            yield connection.cursor()

    def _execute(self, name: str, statement: str) -> None:
        with self._connected(name) as cursor:
            cursor.execute(statement)


@contextmanager
def closed_database(url: str, name: str | None = None) -> Iterator[None]:
    """Refuse all connections to the database during the block, and end those that it has.

    `url` is its address with a role that may do so; `name` is another database of that server.
    """
    server, own = url.rsplit("/", 1)
    name = name or own
    with closing(psycopg2.connect(f"{server}/postgres")) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'", (name,)
        )
        try:
            yield
        finally:
            cursor.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def _value(cursor: psycopg2.extensions.cursor, query: str) -> str:
    cursor.execute(query)
    [(value,)] = cursor.fetchall()
    return str(value)


def _rows(cursor: psycopg2.extensions.cursor, query: str) -> list[tuple[Any, ...]]:
    cursor.execute(query)
    return cursor.fetchall()


def _change(cursor: psycopg2.extensions.cursor, statement: str, name: str) -> None:
    cursor.execute(sql.SQL(statement).format(sql.Identifier(name)))


def _digest(cursor: psycopg2.extensions.cursor, table: str) -> str | None:
    """Return a digest of the rows of a table; None if there are none."""
    query = "SELECT md5(string_agg(t::text, E'\\n' ORDER BY t::text)) FROM {} AS t"
    cursor.execute(sql.SQL(query).format(sql.Identifier(table)))
    [(digest,)] = cursor.fetchall()
    return None if digest is None else str(digest)
