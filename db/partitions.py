"""Partitions of a month or a day: created ahead or with their first row, dropped by retention.

TimescaleDB does the same by itself for its hypertables: it creates their chunks, and `keep_days`
sets the age at which it drops them.

The functions of SQL that create and drop a partition have the rights of the tables' owner.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from db.postgres import Cursor, scalar

TABLES = ("prices", "raw_trades", "candles")  # of market data
BOOKS = ("book_tops", "book_snapshots")
REPORTS = ("order_events", "fills", "signals", "bot_heartbeats")
METRICS_1S, METRICS_1M, METRICS_1H = (
    tuple(f"metrics_{section}_{tier}" for section in ("market", "strategy", "execution", "system")) for tier in ("1s", "1m", "1h")
)
MONTHLY = (*TABLES, *BOOKS, *REPORTS, *METRICS_1M, *METRICS_1H)
DAILY = METRICS_1S
_LONGEST_WAIT = "2s"


def make_months(cursor: Cursor, table: str, months: Iterable[str]) -> None:
    """Create the missing partitions of these months (`2014-05`).

    Readers and writers of the table are not blocked.
    """
    _make(cursor, table, months, "SELECT make_month(%s, %s)")


def make_days(cursor: Cursor, table: str, days: Iterable[str]) -> None:
    """Create the missing partitions of these days (`2014-05-31`) of a table of `DAILY`."""
    _make(cursor, table, days, "SELECT make_day(%s, %s)")


def partitions_before(cursor: Cursor, table: str, day: date) -> list[str]:
    """Names of the table's partitions that end on or before that day, the oldest first."""
    limit = _name(table, day.strftime("%Y-%m-%d" if table in DAILY else "%Y-%m"))
    return sorted(name for name in _partitions(cursor, table) if name < limit)


def drop_partition(cursor: Cursor, name: str) -> None:
    """Drop one partition.

    DROP waits for long reads of the table, and all other statements would queue behind it. It
    therefore gives up after `_LONGEST_WAIT`, and the transaction raises `StoreError`.
    """
    cursor.execute("SELECT set_config('lock_timeout', %s, true)", (_LONGEST_WAIT,))
    cursor.execute("SELECT drop_partition(%s)", (name,))


def keep_days(cursor: Cursor, table: str, days: int) -> None:
    """Make TimescaleDB drop chunks older than `days` (0: never). Without TimescaleDB: no effect."""
    cursor.execute("SELECT keep_days(%s, %s)", (table, days))


def _make(cursor: Cursor, table: str, spans: Iterable[str], statement: str) -> None:
    wanted = {_name(table, span): span for span in spans}
    cursor.execute("SELECT bool_or(to_regclass(name) IS NULL) FROM unnest(%s::text[]) AS name", (list(wanted),))
    if not scalar(cursor) or not _is_partitioned(cursor, table):
        return
    # One transaction creates partitions at a time. A transaction that waited finds them created. It
    # looks into the table, because the cache of `to_regclass` may have the state before the wait.
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext('months of ' || %s))", (table,))
    for name in sorted(wanted.keys() - _partitions(cursor, table)):
        cursor.execute(statement, (table, wanted[name]))


def _partitions(cursor: Cursor, table: str) -> set[str]:
    cursor.execute(
        "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = %s::regclass AND relispartition", (table,)
    )
    return {name for (name,) in cursor.fetchall()}


def _is_partitioned(cursor: Cursor, table: str) -> bool:
    cursor.execute("SELECT relkind = 'p' FROM pg_class WHERE oid = %s::regclass", (table,))
    return bool(scalar(cursor))


def _name(table: str, span: str) -> str:
    return f"{table}_{span.replace('-', '_')}"
