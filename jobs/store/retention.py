"""Retention job: makes partitions of coming months and days, drops old ones, deletes old rows."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import date, datetime, timedelta

from config.settings import Settings
from db import retention as old_rows
from db.partitions import (
    BOOKS,
    DAILY,
    METRICS_1H,
    METRICS_1M,
    METRICS_1S,
    MONTHLY,
    REPORTS,
    drop_partition,
    keep_days,
    make_days,
    make_months,
    partitions_before,
)
from db.postgres import Store, StoreError
from jobs.runtime.context import JobContext

log = logging.getLogger(__name__)

# A late report is at most 30 days old. It needs the checkpoint before it, the fills after that, and
# the id of a report that was sent before.
MIN_FILL_DAYS = 31
SCENARIO_RUN_DAYS = 730


def retention_job(context: JobContext, as_of: datetime) -> int:
    """Make coming partitions, drop old ones, and delete rows of the same age from small tables.

    Returns the number of dropped partitions and deleted rows.
    """
    today, days = as_of.date(), retention_days(context.settings)
    make_coming_partitions(context.store, today)
    dropped = drop_old_partitions(context.store, today, days)
    return len(dropped) + delete_old_rows(context.store, today, {**days, **row_days(context.settings)})


def retention_days(settings: Settings) -> dict[str, int]:
    """Partitioned table -> days for which its rows are kept; 0: for ever."""
    return {
        "prices": settings.retention_prices,
        "raw_trades": settings.retention_trades,
        "candles": settings.retention_candles,
        **dict.fromkeys(BOOKS, settings.retention_books),
        **dict.fromkeys(REPORTS, settings.retention_reports),
        "fills": fill_days(settings),
        **dict.fromkeys(METRICS_1S, settings.retention_metrics_1s),
        **dict.fromkeys(METRICS_1M, settings.retention_metrics_1m),
        **dict.fromkeys(METRICS_1H, settings.retention_metrics_1h),
    }


def fill_days(settings: Settings) -> int:
    """Days for which fills, their checkpoints and the ids of reports are kept; 0: for ever."""
    return max(settings.retention_reports, MIN_FILL_DAYS) if settings.retention_reports else 0


def row_days(settings: Settings) -> dict[str, int]:
    """Table without partitions that has days of its own -> these days; 0: for ever."""
    return {
        "access_log": settings.retention_access_log,
        "alerts": settings.retention_alerts,
        "position_checkpoints": fill_days(settings),
        "scenario_runs": SCENARIO_RUN_DAYS,
    }


def make_coming_partitions(store: Store, today: date) -> None:
    """Make the partitions of this month and the next one, so that no batch waits for it at
    midnight; of the rows of a second those of today and two days more.
    """
    months = {today.strftime("%Y-%m"), (today.replace(day=1) + timedelta(days=32)).strftime("%Y-%m")}
    days = {(today + timedelta(days=ahead)).isoformat() for ahead in range(3)}
    try:
        # A transaction for each table holds one lock only. One for all tables could be in a
        # deadlock with a roll-up, which makes partitions of two tables.
        for make, tables, spans in ((make_months, MONTHLY, months), (make_days, DAILY, days)):
            for table in tables:
                with store.transaction() as cursor:
                    make(cursor, table, spans)
    except StoreError as error:
        log.warning("partitions are not made ahead; the writer makes them on demand: %s", error)


def drop_old_partitions(store: Store, today: date, days: Mapping[str, int]) -> list[str]:
    """Drop the partitions whose rows are all older than the given days; return their names.

    A table with 0 days keeps all rows. A partition that a long query reads stays until the next
    run.
    """
    dropped = []
    for table, kept in days.items():
        try:
            with store.transaction() as cursor:
                keep_days(cursor, table, kept)
                old = partitions_before(cursor, table, today - timedelta(days=kept)) if kept else []
            for name in old:
                with store.transaction() as cursor:
                    drop_partition(cursor, name)
                log.info("partition dropped", extra={"table": table, "partition": name, "kept_days": kept})
                dropped.append(name)
        except StoreError as error:
            log.warning("old partitions of %s are not dropped this time: %s", table, error)
    return dropped


def delete_old_rows(store: Store, today: date, days: Mapping[str, int]) -> int:
    """Delete the old rows of tables without partitions; return their number.

    `days` is that of `retention_days` and `row_days`: figures and runs are kept as long as candles,
    closed gaps as long as trades, orders as long as fills. Raises `StoreError`.
    """
    total = 0
    for table, kept_as in old_rows.KEPT_AS.items():
        kept = days[kept_as]
        deleted = old_rows.MAX_ROWS_PER_DELETE if kept else 0
        while deleted == old_rows.MAX_ROWS_PER_DELETE:
            with store.transaction() as cursor:
                deleted = old_rows.delete_before(cursor, table, today - timedelta(days=kept))
            total += deleted
    return total
