"""Retention job: makes partitions of coming months, drops old ones, deletes other old rows."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import date, datetime, timedelta

from config.settings import Settings
from db import retention as old_rows
from db.partitions import TABLES, drop_month, keep_days, make_months, months_before
from db.postgres import Store, StoreError
from jobs.runtime.context import JobContext

log = logging.getLogger(__name__)


def retention_job(context: JobContext, as_of: datetime) -> int:
    """Make coming months, drop old months, and delete rows of the same age from small tables.

    Returns the number of dropped partitions and deleted rows.
    """
    today, days = as_of.date(), retention_days(context.settings)
    make_coming_months(context.store, today)
    dropped = drop_old_months(context.store, today, days)
    return len(dropped) + delete_old_rows(context.store, today, {**days, "access_log": context.settings.retention_access_log})


def retention_days(settings: Settings) -> dict[str, int]:
    """Table -> days for which its rows are kept; 0: for ever."""
    days = {"prices": settings.retention_prices, "raw_trades": settings.retention_trades, "candles": settings.retention_candles}
    return {table: days[table] for table in TABLES}


def make_coming_months(store: Store, today: date) -> None:
    """Make the partitions of this month and the next one, so that no batch waits for it at
    midnight.
    """
    months = {today.strftime("%Y-%m"), (today.replace(day=1) + timedelta(days=32)).strftime("%Y-%m")}
    try:
        with store.transaction() as cursor:
            for table in TABLES:
                make_months(cursor, table, months)
    except StoreError as error:
        log.warning("months are not made ahead; the writer makes them on demand: %s", error)


def drop_old_months(store: Store, today: date, days: Mapping[str, int]) -> list[str]:
    """Drop the partitions whose rows are all older than the given days; return their names.

    A table with 0 days keeps all rows. A partition that a long query reads stays until the next
    run.
    """
    dropped = []
    for table, kept in days.items():
        try:
            with store.transaction() as cursor:
                keep_days(cursor, table, kept)
                old = months_before(cursor, table, today - timedelta(days=kept)) if kept else []
            for name in old:
                with store.transaction() as cursor:
                    drop_month(cursor, name)
                log.info("month dropped", extra={"table": table, "partition": name, "kept_days": kept})
                dropped.append(name)
        except StoreError as error:
            log.warning("old months of %s are not dropped this time: %s", table, error)
    return dropped


def delete_old_rows(store: Store, today: date, days: Mapping[str, int]) -> int:
    """Delete old volatilities, correlations, job runs, checks, closed gaps and events of access.

    `days` is that of `retention_days`, with those of `access_log`: figures and runs are kept as
    long as candles, closed gaps as long as trades. Returns the number of rows. Raises `StoreError`.
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
