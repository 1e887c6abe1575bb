"""Storing of backfill tasks, for `manage.py backfill`.

Each batch of rows is stored in one transaction with the position that it reaches (`db.backfills`).
So a task that was stopped or killed continues from there. Existing rows are skipped.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from config.pacing import Outage, Stopped, retry
from config.settings import Settings
from config.venues import trade_venues
from db.backfills import Backfill, BackfillProgress, forget, progress, remember
from db.candles import CandleRow, delete_imported, insert_candles
from db.gaps import report_unusable
from db.inserted import Conflict, Inserted, Origin
from db.messages import Trade, trade_lines
from db.postgres import Cursor, RowError, Store, StoreError
from db.prices import PriceRow, delete_recorded, insert_prices
from db.timestamps import format_time
from db.trades import insert_trades
from jobs.backfill.recordings import Row
from jobs.backfill.tasks import BackfillTask, HistoryBatch, RecordedMonth, time_of
from jobs.feeds.base import SourceError, retry_delay

log = logging.getLogger(__name__)

Result = TypeVar("Result")

MAX_ATTEMPTS = 6  # of a transaction while the store is unavailable


@dataclass(slots=True)
class Outcome:
    """Result of a backfill: rows `read`, rows that were `new`, tasks `complete` before.

    With `--replace`, `new` counts the rows of the files that were written.
    """

    read: int = 0
    new: int = 0
    complete: int = 0

    def __str__(self) -> str:
        there = f"; {self.complete} of its parts complete already, --again starts them over" if self.complete else ""
        return f"{self.read} rows read, {self.new} new{there}"


def _insert(cursor: Cursor, rows: Sequence[Row], origin: Origin, *, replace: bool) -> Inserted:
    if not rows:
        return Inserted()
    if isinstance(rows[0], Trade):
        return insert_trades(cursor, trade_lines(row for row in rows if isinstance(row, Trade)), origin=origin, replace=replace)
    if isinstance(rows[0], CandleRow):
        return insert_candles(cursor, [row for row in rows if isinstance(row, CandleRow)], replace=replace)
    return insert_prices(cursor, [row for row in rows if isinstance(row, PriceRow)], trade_venues(), origin=origin)


_TABLES: Mapping[type, str] = {PriceRow: "prices", Trade: "raw_trades", CandleRow: "candles"}


@dataclass(frozen=True, slots=True)
class Retention:
    """The setting `name` deletes rows of a table from before `since` (contract form)."""

    name: str
    days: int
    since: str


def retention(settings: Settings, now: datetime) -> dict[str, Retention]:
    """Table -> its retention; tables whose rows are kept for ever are left out."""
    days = {
        "prices": ("RETENTION_PRICES", settings.retention_prices),
        "raw_trades": ("RETENTION_TRADES", settings.retention_trades),
        "candles": ("RETENTION_CANDLES", settings.retention_candles),
    }
    return {table: Retention(name, kept, format_time(now - timedelta(days=kept))) for table, (name, kept) in days.items() if kept}


class Filler:
    """Stores one task after the other and counts.

    `warn` is called with a sentence about rows that will be deleted, `on_conflicts` with the title
    of a task and records of it whose identity is stored with other values.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], datetime],
        stop: threading.Event,
        *,
        limits: Mapping[str, Retention],
        warn: Callable[[str], None],
        on_conflicts: Callable[[str, Sequence[Conflict]], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._stop = stop
        self._limits = dict(limits)
        self._warn = warn
        self._on_conflicts = on_conflicts
        self.outcome = Outcome()

    def fill(
        self, task: BackfillTask, *, again: bool = False, replace: bool = False, moved: Callable[[float], object] = lambda share: None
    ) -> None:
        """Store the task from its position, or with `again` from its beginning.

        With `replace`, from its beginning too, and its records take the place of stored ones.
        `moved` is called with the stored share (0 … 1). Raises `SourceError`, `StoreError` if the
        store stays unavailable, `Stopped` after the batch during which `stop` was set.
        """
        reached = self._in_transaction(lambda cursor: self._begin(cursor, task.asked, again or replace))
        if reached is not None and reached.finished:
            self.outcome.complete += 1
            moved(1.0)
            return
        position = None if reached is None else reached.position
        if not (replace and self._replace_months(task, moved)):
            for batch in task.batches(position, self._stop):
                self._check_age(batch.rows)
                self._store_batch(task, batch, replace=replace)
                position = batch.position
                moved(batch.share)
                if self._stop.is_set():
                    raise Stopped
        self._in_transaction(lambda cursor: self._end(cursor, task, position or ""))
        moved(1.0)

    def _begin(self, cursor: Cursor, asked: Backfill, again: bool) -> BackfillProgress | None:
        if again:
            forget(cursor, asked)
        return progress(cursor, asked)

    def _end(self, cursor: Cursor, task: BackfillTask, position: str) -> None:
        """Keep the end of a history; of a file nothing, because it may be read again."""
        if task.origin == "file":
            forget(cursor, task.asked)
        else:
            remember(cursor, task.asked, BackfillProgress(position, finished=True), self._clock())

    def _store_batch(self, task: BackfillTask, batch: HistoryBatch, *, replace: bool) -> None:
        def work(cursor: Cursor) -> Inserted:
            inserted = _insert(cursor, batch.rows, task.origin, replace=replace)
            self._report_refused(cursor, task.asked, batch)
            remember(cursor, task.asked, BackfillProgress(batch.position, finished=False), self._clock())
            return inserted

        inserted = self._stored(work)
        self.outcome.read += len(batch.rows)
        self.outcome.new += inserted.new
        if inserted.conflicts:
            self._on_conflicts(task.title, inserted.conflicts)

    def _replace_months(self, task: BackfillTask, moved: Callable[[float], object]) -> bool:
        """Replace the stored records of each month of a file; False if the task has no months."""
        found = False
        for month in task.months(self._stop) if task.months is not None else ():
            found = True
            read, new = self._stored(partial(self._replace_month, month))
            self.outcome.read += read
            self.outcome.new += new
            moved(month.share)
            if self._stop.is_set():
                raise Stopped
        return found

    def _replace_month(self, month: RecordedMonth, cursor: Cursor) -> tuple[int, int]:
        """Delete the month's records of files and insert those of the file.

        Returns the numbers of read and of new rows.
        """
        read, inserted = 0, Inserted()
        if month.interval:
            delete_imported(cursor, month.instrument, month.interval, month.start, month.end)
        else:
            delete_recorded(cursor, month.instrument, month.start, month.end)
        for rows in month.batches():
            self._check_age(rows)
            read += len(rows)
            inserted += _insert(cursor, rows, "history", replace=True)
        return read, inserted.new

    def _stored(self, work: Callable[[Cursor], Result]) -> Result:
        try:
            return self._in_transaction(work)
        except RowError as error:
            raise SourceError(f"the store refuses a row: {error}", fatal=True) from error

    def _report_refused(self, cursor: Cursor, asked: Backfill, batch: HistoryBatch) -> None:
        """Make the ids of trades that cannot be used unfillable gaps."""
        near = time_of(batch.rows[-1]) if batch.rows else asked.start
        for kind in {refused.kind for refused in batch.refused}:
            ids = [(refused.trade_id, near) for refused in batch.refused if refused.kind == kind]
            report_unusable(cursor, asked.source, asked.symbol, ids, kind, self._clock())

    def _check_age(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        limit = self._limits.get(_TABLES[type(rows[0])])
        if limit is not None and (oldest := min(map(time_of, rows))) < limit.since:
            del self._limits[_TABLES[type(rows[0])]]  # one warning per table is enough
            self._warn(
                f"rows of {oldest} are older than {limit.name} ({limit.days} days): months that are wholly older are dropped by night; "
                f"set {limit.name} to more, or to 0, to keep them"
            )

    def _in_transaction(self, work: Callable[[Cursor], Result]) -> Result:
        """The result of `work` in one transaction, repeated while the store is unavailable."""

        def call() -> Result:
            with self._store.transaction() as cursor:
                return work(cursor)

        outage = Outage(log, "backfill waits for the store", monotonic=time.monotonic)
        return retry(call, on=StoreError, stop=self._stop, outage=outage, pause=_pause, attempts=MAX_ATTEMPTS)


def _pause(attempt: int) -> float:
    return retry_delay(attempt, random.random())  # noqa: S311
