"""The past into the store, asked for by hand: what `manage.py backfill` does.

Each batch of rows is stored together with the place it reaches (`db.backfills`), so that a part that was stopped or killed goes on from
there. Rows that exist are passed over.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from config.settings import Settings
from config.venues import trade_venues
from db.backfills import Backfill, BackfillProgress, forget, progress, remember
from db.candles import CandleRow, insert_candles
from db.messages import Trade, trade_lines
from db.postgres import RowError, Store, StoreError
from db.prices import PriceRow, insert_prices
from db.timestamps import format_time
from db.trades import insert_trades
from jobs.backfill.recordings import Record
from jobs.backfill.tasks import Batch, Part, time_of
from jobs.feeds.base import SourceError, backoff
from jobs.feeds.http_json import Stopped

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_TRIES = 6  # of a transaction, where the store is away


@dataclass(slots=True)
class Outcome:
    """What came of it: `new` rows of those `read` were not stored yet; `complete` parts were there before."""

    read: int = 0
    new: int = 0
    complete: int = 0

    def __str__(self) -> str:
        there = f"; {self.complete} of its parts complete already, --again starts them over" if self.complete else ""
        return f"{self.read} rows read, {self.new} new{there}"


def _insert(cursor: Any, rows: Sequence[Record]) -> int:
    if isinstance(rows[0], Trade):
        return insert_trades(cursor, trade_lines(row for row in rows if isinstance(row, Trade))).new
    if isinstance(rows[0], CandleRow):
        return insert_candles(cursor, [row for row in rows if isinstance(row, CandleRow)]).new
    return insert_prices(cursor, [row for row in rows if isinstance(row, PriceRow)], trade_venues()).new


_TABLES: Mapping[type, str] = {PriceRow: "prices", Trade: "raw_trades", CandleRow: "candles"}


@dataclass(frozen=True, slots=True)
class Retention:
    """Rows of a table from before `since`, in contract form, do not stay: the setting `name` says so."""

    name: str
    days: int
    since: str


def retention(settings: Settings, now: datetime) -> dict[str, Retention]:
    """What is not kept for ever, by table."""
    days = {
        "prices": ("RETENTION_PRICES", settings.retention_prices),
        "raw_trades": ("RETENTION_TRADES", settings.retention_trades),
        "candles": ("RETENTION_CANDLES", settings.retention_candles),
    }
    return {table: Retention(name, kept, format_time(now - timedelta(days=kept))) for table, (name, kept) in days.items() if kept}


class Filler:
    """Stores parts, one after the other, and counts. `warn` hears a sentence about what will not last."""

    def __init__(
        self,
        store: Store,
        clock: Callable[[], datetime],
        stop: threading.Event,
        *,
        limits: Mapping[str, Retention],
        warn: Callable[[str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._stop = stop
        self._limits = dict(limits)
        self._warn = warn
        self.outcome = Outcome()

    def fill(self, part: Part, *, again: bool = False, moved: Callable[[float], object] = lambda share: None) -> None:
        """Store the part from where it stands, `again` from its beginning. `moved` hears the share of it that is stored.

        Raises `SourceError`, `StoreError` where the store stays away, `Stopped` after the batch during which `stop` was set.
        """
        reached = self._patiently(lambda cursor: self._begin(cursor, part.asked, again))
        if reached is not None and reached.finished:
            self.outcome.complete += 1
            moved(1.0)
            return
        position = None if reached is None else reached.position
        for batch in part.batches(position, self._stop):
            self._check_age(batch.rows)
            self._store_batch(part, batch)
            position = batch.position
            moved(batch.share)
            if self._stop.is_set():
                raise Stopped
        self._patiently(lambda cursor: remember(cursor, part.asked, BackfillProgress(position or "", finished=True), self._clock()))
        moved(1.0)

    def _begin(self, cursor: Any, asked: Backfill, again: bool) -> BackfillProgress | None:
        if again:
            forget(cursor, asked)
        return progress(cursor, asked)

    def _store_batch(self, part: Part, batch: Batch) -> None:
        def work(cursor: Any) -> int:
            new = _insert(cursor, batch.rows)
            remember(cursor, part.asked, BackfillProgress(batch.position, finished=False), self._clock())
            return new

        try:
            new = self._patiently(work)
        except RowError as error:
            raise SourceError(f"the store refuses a row: {error}", fatal=True) from error
        self.outcome.read += len(batch.rows)
        self.outcome.new += new

    def _check_age(self, rows: Sequence[Record]) -> None:
        limit = self._limits.get(_TABLES[type(rows[0])])
        if limit is not None and (oldest := min(map(time_of, rows))) < limit.since:
            del self._limits[_TABLES[type(rows[0])]]  # once is enough
            self._warn(
                f"rows of {oldest} are older than {limit.name} ({limit.days} days): months that are wholly older are dropped by night; "
                f"set {limit.name} to more, or to 0, to keep them"
            )

    def _patiently(self, work: Callable[[Any], Result]) -> Result:
        """One transaction, tried again where the store is away for a moment."""
        attempt = 1
        while True:
            try:
                with self._store.transaction() as cursor:
                    return work(cursor)
            except StoreError as error:
                if attempt == _TRIES:
                    raise
                log.warning("backfill waits for the store: %s", error)
            if self._stop.wait(backoff(attempt, random.random())):  # noqa: S311
                raise Stopped
            attempt += 1
