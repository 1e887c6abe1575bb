"""Monthly partitions: made ahead or when the first row comes, dropped when retention says so. Where a table is a TimescaleDB hypertable
instead, TimescaleDB does all of this by itself: it makes its chunks, and `keep_days` tells it when to drop them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from psycopg2 import sql

from db.postgres import Cursor, scalar

TABLES = ("prices", "raw_trades", "candles")
_LONGEST_WAIT = "2s"


def make_months(cursor: Cursor, table: str, months: Iterable[str]) -> None:
    """Make the partition of each month (`2014-05`) that has none. Neither readers nor writers of the table wait for it."""
    wanted = {_name(table, month): month for month in months}
    cursor.execute("SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass(name) IS NULL", (list(wanted),))
    if not (missing := sorted(name for (name,) in cursor.fetchall())):
        return
    if not _is_partitioned(cursor, table):
        return
    # One makes months at a time; whoever waited here finds them made.
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext('months of ' || %s))", (table,))
    for name in missing:
        _make_month(cursor, table, name, wanted[name])


def months_before(cursor: Cursor, table: str, day: date) -> list[str]:
    """Names of the table's partitions that end on or before that day, the oldest first."""
    limit = _name(table, day.strftime("%Y-%m"))
    return sorted(name for name in _partitions(cursor, table) if name < limit)


def drop_month(cursor: Cursor, name: str) -> None:
    """Drop one partition. Where somebody reads the table and does not come to an end, everyone else would queue behind us: this then
    gives up soon, and the transaction raises `StoreError`."""
    cursor.execute("SELECT set_config('lock_timeout', %s, true)", (_LONGEST_WAIT,))
    cursor.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))


def keep_days(cursor: Cursor, table: str, days: int) -> None:
    """Tell TimescaleDB to drop what is older than so many days, 0 for never; without TimescaleDB this does nothing."""
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
    """CREATE … PARTITION OF would wait for every reader of the table, a long export too, and all others behind it; ATTACH does not."""
    cursor.execute("SELECT to_regclass(%s) IS NULL", (name,))
    if not scalar(cursor):
        return
    first = date.fromisoformat(f"{month}-01")
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
