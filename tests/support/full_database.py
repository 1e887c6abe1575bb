"""A database with rows in every table, and digests of its content."""

from __future__ import annotations

import re
from contextlib import closing

import psycopg2

TIME = "'2026-11-20T10:00:00Z'"
# type -> an expression of it
VALUES = {
    "text": "'x'", "timestamp with time zone": TIME, "numeric": "1", "integer": "1", "bigint": "1", "smallint": "1",
    "boolean": "true", "double precision": "1", "real": "1", "jsonb": "'{}'", "date": "'2026-11-20'", "bytea": "'\\x00'",
    "uuid": "gen_random_uuid()",
}  # fmt: skip
# Columns that a check constraint binds.
BOUND = {("api_keys", "id"): "'abcdefgh'", ("correlations", "symbol1"): "'a'", ("revoked_tokens", "jti"): "'x'"}
PRICES = 2_000  # more rows, so that pages, statistics and indexes have content

_TABLES = """
SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
  AND relname !~ 'yoyo' ORDER BY 1
"""
_COLUMNS = """
SELECT attname, format_type(atttypid, -1) FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' AND attidentity = ''
  AND (attnotnull OR attname = 'jti')
"""
_CHECKS = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'c'"
_PARTITION = """
DO $do$ BEGIN
  IF (SELECT relkind FROM pg_class WHERE oid = '{0}'::regclass) = 'p' THEN
    CREATE TABLE {0}_of_test PARTITION OF {0} FOR VALUES FROM ('2026-11-20') TO ('2026-11-21');
  END IF;
END $do$
"""


def fill(superuser_url: str) -> None:
    """Put at least one row into every table; references between tables are not checked."""
    with closing(psycopg2.connect(superuser_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(_TABLES)
        for (table,) in cursor.fetchall():
            cursor.execute(f"SELECT FROM {table} LIMIT 1")
            if cursor.fetchall():
                continue  # the schema brings rows
            cursor.execute(_PARTITION.format(table))
            cursor.execute(_COLUMNS, (table,))
            columns = dict(cursor.fetchall())
            cursor.execute(_CHECKS, (table,))
            checks = " ".join(text for (text,) in cursor.fetchall())
            values = {name: BOUND.get((table, name)) or _value(name, kind, checks) for name, kind in columns.items()}
            if table == "prices":
                values.update(seq="number", occurrence="number")
            rows = PRICES if table == "prices" else 1
            cursor.execute(
                f"INSERT INTO {table} ({', '.join(values)}) SELECT {', '.join(values.values())}"  # noqa: S608
                f" FROM generate_series(1, {rows}) number ON CONFLICT DO NOTHING"
            )


def _value(name: str, kind: str, checks: str) -> str:
    """Return an expression for a column; of a closed set, the first element."""
    found = re.search(rf"\b{name} = ANY \(ARRAY\['([^']+)'", checks) or re.search(rf"\"{name}\" = ANY \(ARRAY\['([^']+)'", checks)
    if found:
        return f"'{found[1]}'"
    return "'{}'" if kind.endswith("[]") else VALUES[kind]


def digests(url: str) -> dict[str, tuple[int, str]]:
    """Return table -> number of rows, and a digest of their texts."""
    found: dict[str, tuple[int, str]] = {}
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(_TABLES)
        for (table,) in cursor.fetchall():
            cursor.execute(f"SELECT count(*), coalesce(md5(string_agg(t::text, ',' ORDER BY t::text)), '') FROM {table} t")  # noqa: S608
            [(count, digest)] = cursor.fetchall()
            found[table] = (int(count), str(digest))
    return found
