"""Monthly partitions: created ahead or with the first row of a month, dropped by retention.

TimescaleDB does the same by itself for its hypertables: it creates their chunks, and `keep_days`
sets the age at which it drops them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from psycopg2 import sql

from db.postgres import Cursor, scalar
from db.timestamps import parse_time

TABLES = ("prices", "raw_trades", "candles")
_LONGEST_WAIT = "2s"


def make_months(cursor: Cursor, table: str, months: Iterable[str]) -> None:
    """Create the missing partitions of these months (`2014-05`).

    Readers and writers of the table are not blocked.
    """
    wanted = {_name(table, month): month for month in months}
    cursor.execute("SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass(name) IS NULL", (list(wanted),))
    if not (missing := sorted(name for (name,) in cursor.fetchall())):
        return
    if not _is_partitioned(cursor, table):
        return
    # One transaction creates months at a time. A transaction that waited here finds them created.
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext('months of ' || %s))", (table,))
    for name in missing:
        _make_month(cursor, table, name, wanted[name])


def months_before(cursor: Cursor, table: str, day: date) -> list[str]:
    """Names of the table's partitions that end on or before that day, the oldest first."""
    limit = _name(table, day.strftime("%Y-%m"))
    return sorted(name for name in _partitions(cursor, table) if name < limit)


def drop_month(cursor: Cursor, name: str) -> None:
    """Drop one partition.

    DROP waits for long reads of the table, and all other statements would queue behind it. It
    therefore gives up after `_LONGEST_WAIT`, and the transaction raises `StoreError`.
    """
    cursor.execute("SELECT set_config('lock_timeout', %s, true)", (_LONGEST_WAIT,))
    cursor.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))


def keep_days(cursor: Cursor, table: str, days: int) -> None:
    """Make TimescaleDB drop chunks older than `days` (0: never). Without TimescaleDB: no effect."""
    cursor.execute("SELECT keep_days(%s, %s)", (table, days))


def _partitions(cursor: Cursor, table: str) -> set[str]:
    cursor.execute(
        "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = %s::regclass AND relispartition", (table,)
    )
    return {name for (name,) in cursor.fetchall()}


def _is_partitioned(cursor: Cursor, table: str) -> bool:
    cursor.execute("SELECT relkind = 'p' FROM pg_class WHERE oid = %s::regclass", (table,))
    return bool(scalar(cursor))


def _make_month(cursor: Cursor, table: str, name: str, month: str) -> None:
    """Create and attach one partition, unless it exists.

    CREATE … PARTITION OF would wait for every reader of the table, even a long export, and block
    all others meanwhile. ATTACH does not.
    """
    cursor.execute("SELECT to_regclass(%s) IS NULL", (name,))
    if not scalar(cursor):
        return
    first = parse_time(f"{month}-01").date()
    following = f"{first.year + first.month // 12:04}-{first.month % 12 + 1:02}-01"
    cursor.execute(
        sql.SQL(
            "CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS);"
            "ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({following})"
        ).format(
            name=sql.Identifier(name),
            table=sql.Identifier(table),
            first=sql.Literal(f"{first}T00:00:00Z"),
            following=sql.Literal(f"{following}T00:00:00Z"),
        )
    )


def _name(table: str, month: str) -> str:
    return f"{table}_{month.replace('-', '_')}"
