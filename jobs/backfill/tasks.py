"""Tasks of a backfill: an instrument's trades, its candles of one interval, a recorded file.

A task yields batches of rows, each with the position that it reaches. `jobs.backfill.fill` stores
them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from config.pacing import Stopped, Throttle
from db.backfills import ALWAYS, FOREVER, Backfill
from db.candles import CandleRow
from db.prices import PriceRow
from db.timestamps import format_time, parse_time
from jobs.backfill.recordings import Record, Recording, read
from jobs.feeds.base import BadInput, CandleHistory, RefusedTrade, TradeHistory, as_source_error

log = logging.getLogger(__name__)

MAX_ROWS_PER_BATCH = 5_000  # of a recorded file


@dataclass(frozen=True, slots=True)
class HistoryBatch:
    """Rows of one kind, possibly none. With them, the task is stored up to `position`, a `share`
    (0 … 1) of it. `refused` are trades that cannot be used.
    """

    rows: Sequence[Record]
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


def file_task(
    recording: Recording,
    kinds: Mapping[str, str],
    on_bad: Callable[[int, str], None],
    *,
    symbols: Sequence[str] = (),
    start: datetime | None = None,
    end: datetime | None = None,
) -> BackfillTask:
    """A recorded file, or its records of `symbols` with `start` <= time < `end`.

    The position is a place in the file. `kinds` maps every existing instrument to its kind.
    """
    low, high = format_time(start) if start else "", format_time(end) if end else "~"

    def batches(position: str | None, stop: threading.Event) -> Iterator[HistoryBatch]:
        after, rows, place = int(position or 0), list[Record](), 0
        for place, record in _usable(recording, kinds, on_bad, after):
            if stop.is_set():
                raise Stopped
            if low <= time_of(record) < high and (not symbols or symbol_of(record) in symbols):
                rows.append(record)
            if len(rows) == MAX_ROWS_PER_BATCH:
                yield HistoryBatch(rows, str(place), min(1.0, place / recording.lines))
                rows = []
        if rows:
            yield HistoryBatch(rows, str(place), 1.0)

    # The content is part of the name: a file that has grown begins anew.
    source = f"{recording.name}#{recording.digest}"
    asked = Backfill(source, ",".join(sorted(symbols)), "", low or ALWAYS, FOREVER if end is None else high)
    return BackfillTask(recording.file.name, asked, batches)


def _usable(recording: Recording, kinds: Mapping[str, str], on_bad: Callable[[int, str], None], after: int) -> Iterator[tuple[int, Record]]:
    """The good records beyond `after`. Raises `SourceError` for a file with bad records only."""
    good, first_bad = False, ""
    throttle = Throttle(monotonic=time.monotonic)

    def note(place: int, reason: str) -> None:
        nonlocal first_bad
        first_bad = first_bad or f"{place}: {reason}"
        if (count := throttle.due("record")) is not None:
            log.warning(
                "skipped a bad record of the recording (repeats suppressed for 60 s)",
                extra={"file": recording.file.name, "place": place, "reason": reason, "count": count},
            )
        on_bad(place, reason)

    for found in read(recording, kinds, note, after=after):
        good = True
        yield found
    if first_bad and not good and not after:
        raise as_source_error(BadInput(f"nothing in {recording.file} can be used; the first line that cannot is {first_bad}"))


def symbol_of(record: Record) -> str:
    """The instrument of a record."""
    return record.instrument if isinstance(record, PriceRow) else record.symbol


def time_of(record: Record) -> str:
    """The time of a record; of a candle, its start."""
    return record.start_time if isinstance(record, CandleRow) else record.time
