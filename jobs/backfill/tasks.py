"""Tasks of a backfill: an instrument's trades, or its candles of one interval.

A task yields batches of rows, each with the position that it reaches. `jobs.backfill.fill` stores
them. `jobs.backfill.file_tasks` makes the tasks of files.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from db.backfills import Backfill
from db.candles import CandleRow
from db.inserted import Origin
from db.prices import PriceRow
from db.timestamps import format_time, parse_time
from jobs.backfill.recordings import Row
from jobs.feeds.base import CandleHistory, RefusedTrade, TradeHistory


@dataclass(frozen=True, slots=True)
class HistoryBatch:
    """Rows of one kind, possibly none. With them, the task is stored up to `position`, a `share`
    (0 … 1) of it. `refused` are trades that cannot be used.
    """

    rows: Sequence[Row]
    position: str
    share: float
    refused: Sequence[RefusedTrade] = ()


@dataclass(frozen=True, slots=True)
class BackfillTask:
    """One row of `backfills`, and its batches after a position (None: all). `title` is for the
    operator.
    """

    title: str
    asked: Backfill
    batches: Callable[[str | None, threading.Event], Iterator[HistoryBatch]]
    origin: Origin = "history"
    months: Callable[[threading.Event], Iterator[RecordedMonth]] | None = None  # of a file, for `--replace`


@dataclass(frozen=True, slots=True)
class RecordedMonth:
    """One month of a file's quotes of one instrument, or of its candles of one `interval`.

    `start` <= time <= `end`, both in contract form. The month may have no record. `batches` reads
    the records, also repeatedly; after the last one, a `share` (0 … 1) of the file is stored.
    """

    instrument: str
    interval: str  # "" for quotes
    start: str
    end: str
    batches: Callable[[], Iterator[Sequence[Row]]]
    share: float


def trade_tasks(source: str, history: TradeHistory, symbols: Sequence[str], start: datetime, end: datetime) -> list[BackfillTask]:
    """One task per symbol: its trades with `start` <= time < `end`.

    The position is the largest id of the last stored page. The batches end only if the end of the
    history is proven: by the history itself, or by a trade at or beyond `end`.
    """

    def batches(symbol: str, position: str | None, stop: threading.Event) -> Iterator[HistoryBatch]:
        first = history.first_id_at(symbol, start, stop) if position is None else int(position) + 1
        if first is None:
            return
        limit, share = format_time(end), 0.0
        for page in history.trades(symbol, first, stop):
            rows = [trade for trade in page.trades if trade.time < limit]
            beyond = len(rows) < len(page.trades)
            refused = [each for each in page.refused if not beyond or (rows and each.trade_id < rows[-1].trade_id)]
            if rows:
                share = _share(rows[-1].time, start, end)
            if rows or not beyond:
                yield HistoryBatch(rows, str(rows[-1].trade_id if beyond else page.last_id), share, refused)
            if beyond:
                return

    return [_task(source, symbol, "", start, end, batches, symbol) for symbol in symbols]


def candle_tasks(
    source: str, history: CandleHistory, instruments: Sequence[str], intervals: Sequence[str], start: datetime, end: datetime
) -> list[BackfillTask]:
    """One task per instrument and interval: its candles with `start` <= start time < `end`.

    The position is the end of the last candle of the last stored page. The batches end only if the
    end of the history is proven.
    """

    def batches(wanted: tuple[str, str], position: str | None, stop: threading.Event) -> Iterator[HistoryBatch]:
        since = start if position is None else parse_time(position)
        for page in history.candles(*wanted, since, end, stop):
            yield HistoryBatch(page.candles, page.reached, _share(page.reached, start, end))

    wanted = [(instrument, interval) for instrument in instruments for interval in intervals]
    return [_task(source, *each, start, end, batches, each) for each in wanted]


def _task(
    source: str,
    symbol: str,
    interval: str,
    start: datetime,
    end: datetime,
    batches: Callable[[Any, str | None, threading.Event], Iterator[HistoryBatch]],
    wanted: Any,
) -> BackfillTask:
    asked = Backfill(source, symbol, interval, format_time(start), format_time(end))
    return BackfillTask(f"{symbol} {interval}".strip(), asked, lambda position, stop: batches(wanted, position, stop))


def _share(reached: str, start: datetime, end: datetime) -> float:
    return min(1.0, (parse_time(reached) - start) / (end - start))


def symbol_of(record: Row) -> str:
    """The instrument of a record."""
    return record.instrument if isinstance(record, PriceRow) else record.symbol


def time_of(record: Row) -> str:
    """The time of a record; of a candle, its start."""
    return record.start_time if isinstance(record, CandleRow) else record.time
