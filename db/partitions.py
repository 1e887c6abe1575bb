"""Monthly partitions: made ahead or when the first row comes, dropped when retention says so. Where a table is a TimescaleDB hypertable
instead, TimescaleDB does all of this by itself and nothing happens here."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

from psycopg2 import sql

TABLES = ("prices", "raw_trades", "candles")


def make_months(cursor: Any, table: str, months: Iterable[str]) -> None:
    """Make the partition of each month (`2014-05`) that has none."""
    there = _partitions(cursor, table)
    if missing := [month for month in sorted(set(months)) if _name(table, month) not in there]:
        if not _is_partitioned(cursor, table):
            return
        # CREATE … IF NOT EXISTS alone still races with another writer.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('months of ' || %s))", (table,))
        for month in missing:
            _make_month(cursor, table, month)


def drop_months(cursor: Any, table: str, before: date) -> list[str]:
    """Drop the partitions that end on or before that day; their names."""
    limit = _name(table, before.strftime("%Y-%m"))
    dropped = sorted(name for name in _partitions(cursor, table) if name < limit)
    for name in dropped:
        cursor.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
    return dropped


def _partitions(cursor: Any, table: str) -> set[str]:
    cursor.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits JOIN pg_class ON oid = inhparent WHERE oid = %s::regclass AND relkind = 'p'",
        (table,),
    )
    return {name for (name,) in cursor.fetchall()}


def _is_partitioned(cursor: Any, table: str) -> bool:
    cursor.execute("SELECT relkind = 'p' FROM pg_class WHERE oid = %s::regclass", (table,))
    return bool(cursor.fetchone()[0])


def _make_month(cursor: Any, table: str, month: str) -> None:
    first = date.fromisoformat(f"{month}-01")
    following = f"{first.year + first.month // 12:04}-{first.month % 12 + 1:02}-01"
    cursor.execute(
        sql.SQL("CREATE TABLE IF NOT EXISTS {} PARTITION OF {} FOR VALUES FROM ({}) TO ({})").format(
            sql.Identifier(_name(table, month)),
            sql.Identifier(table),
            sql.Literal(f"{first}T00:00:00Z"),
            sql.Literal(f"{following}T00:00:00Z"),
        )
    )


def _name(table: str, month: str) -> str:
    return f"{table}_{month.replace('-', '_')}"
