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
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from config.pacing import Stopped, Throttle
from db.admission import NotAdmitted
from db.backfills import ALWAYS, FOREVER, Backfill
from db.candles import CandleRow
from db.inserted import Origin
from db.prices import PriceRow
from db.timestamps import format_time, parse_time
from jobs.backfill.recordings import OnBad, Record, Recording, read
from jobs.feeds.base import BadInput, CandleHistory, RefusedTrade, TradeHistory, as_source_error
from jobs.feeds.binance.messages import OtherTrade
from jobs.feeds.files.text_files import Undamaged

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
    origin: Origin = "history"
    months: Callable[[threading.Event], Iterator[RecordedMonth]] | None = None  # of quotes in a file, for `--replace`


@dataclass(frozen=True, slots=True)
class RecordedMonth:
    """One month of a file's quotes of one instrument.

    `start` <= time <= `end`, both in contract form. The month may have no quote. `batches` reads
    the quotes; with the last batch, a `share` (0 … 1) of the file's months is stored.
    """

    instrument: str
    start: str
    end: str
    batches: Callable[[], Iterator[Sequence[PriceRow]]]
    share: float


@dataclass(frozen=True, slots=True)
class Selection:
    """The wanted records of a file: of `symbols` (none: all), with `start` <= time < `end`."""

    symbols: tuple[str, ...] = ()
    start: datetime | None = None
    end: datetime | None = None

    @property
    def bounds(self) -> tuple[str, str]:
        """Texts between which the times in contract form lie."""
        return format_time(self.start) if self.start else "", format_time(self.end) if self.end else "~"

    def of(self, found: Iterator[tuple[int, Record]]) -> Iterator[tuple[int, Record]]:
        """The wanted records among those found."""
        low, high = self.bounds
        return (each for each in found if low <= time_of(each[1]) < high and (not self.symbols or symbol_of(each[1]) in self.symbols))


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


def file_task(recording: Recording, calendars: Mapping[str, str], on_bad: OnBad, wanted: Selection, *, now: datetime) -> BackfillTask:
    """The wanted records of a recorded file.

    The position is a place in the file. `calendars` maps every existing instrument to its calendar;
    `now` is the clock's reading.
    """
    low, high = wanted.bounds

    def batches(position: str | None, stop: threading.Event) -> Iterator[HistoryBatch]:
        found = wanted.of(_until_stop(_usable(recording, calendars, on_bad, now, int(position or 0)), stop))
        for rows, place in _batches(found):
            yield HistoryBatch(rows, str(place), min(1.0, place / recording.lines))

    def months(stop: threading.Event) -> Iterator[RecordedMonth]:
        def found(note: OnBad) -> Iterator[tuple[int, Record]]:
            return wanted.of(_until_stop(_usable(recording, calendars, note, now, 0), stop))

        return recorded_months(found, on_bad)

    # The content is part of the name: a file that has grown begins anew.
    source = f"{recording.name}#{recording.digest}"
    asked = Backfill(source, ",".join(sorted(wanted.symbols)), "", low or ALWAYS, FOREVER if wanted.end is None else high)
    return BackfillTask(recording.file.name, asked, batches, origin="file", months=months)


def recorded_months(found: Callable[[OnBad], Iterator[tuple[int, Record]]], on_bad: OnBad) -> Iterator[RecordedMonth]:
    """The months of every instrument between its first and its last quote.

    `found` reads the file: once for the times, and once for each month.
    """
    spans: dict[str, tuple[str, str]] = {}  # instrument -> first and last time
    undamaged = Undamaged(found(on_bad))
    for _, record in undamaged:
        if not isinstance(record, PriceRow):
            return
        first, last = spans.get(record.instrument, (record.time, record.time))
        spans[record.instrument] = min(first, record.time), max(last, record.time)
    wanted = [(symbol, *month) for symbol, span in spans.items() for month in months_between(*span)]

    def rows(symbol: str, start: str, end: str) -> Iterator[Sequence[PriceRow]]:
        return (batch for batch, _ in _batches(quotes(symbol, start, end)))

    def quotes(symbol: str, start: str, end: str) -> Iterator[tuple[int, PriceRow]]:
        for place, record in Undamaged(found(lambda place, error: None)):
            if isinstance(record, PriceRow) and record.instrument == symbol and start <= record.time <= end:
                yield place, record

    for number, each in enumerate(wanted, start=1):
        yield RecordedMonth(*each, partial(rows, *each), number / len(wanted))
    undamaged.raise_damage()


def months_between(first: str, last: str) -> Iterator[tuple[str, str]]:
    """First and last time of each month from `first` to `last`, both included.

    All times are in contract form.
    """
    start = first
    while start[:7] < last[:7]:
        following = (parse_time(f"{start[:7]}-28") + timedelta(days=4)).replace(day=1)
        yield start, format_time(following - timedelta(microseconds=1))
        start = format_time(following)
    yield start, last


_Row = TypeVar("_Row", bound=Record)


def _batches(found: Iterator[tuple[int, _Row]]) -> Iterator[tuple[list[_Row], int]]:
    """The records in batches with the place of the last one; quotes of one time are in one batch.

    If the file is damaged, the records before the damage are a batch before the error.
    """
    rows, place = list[_Row](), 0
    undamaged = Undamaged(found)
    for reached, record in undamaged:
        if len(rows) >= MAX_ROWS_PER_BATCH and not (isinstance(record, PriceRow) and record.time == time_of(rows[-1])):
            yield rows, place
            rows = []
        rows.append(record)
        place = reached
    if rows:
        yield rows, place
    undamaged.raise_damage()


def _until_stop(found: Iterator[tuple[int, Record]], stop: threading.Event) -> Iterator[tuple[int, Record]]:
    for each in found:
        if stop.is_set():
            raise Stopped
        yield each


def _usable(recording: Recording, calendars: Mapping[str, str], on_bad: OnBad, now: datetime, after: int) -> Iterator[tuple[int, Record]]:
    """The admitted records beyond `after`.

    Raises `SourceError` if no record of the file can be read.
    """
    readable, first_bad = bool(after), ""
    throttle = Throttle(monotonic=time.monotonic)

    def note(place: str, error: ValueError) -> None:
        nonlocal first_bad, readable
        first_bad = first_bad or f"{place}: {error}"
        readable = readable or isinstance(error, (NotAdmitted, OtherTrade))
        if (count := throttle.due("record")) is not None:
            log.warning(
                "skipped a record of the recording (repeats suppressed for 60 s)",
                extra={"file": recording.file.name, "place": place, "reason": str(error), "count": count},
            )
        on_bad(place, error)

    for found in read(recording, calendars, note, now=now, after=after):
        readable = True
        yield found
    if first_bad and not readable:
        raise as_source_error(BadInput(f"nothing in {recording.file} can be used; the first that cannot is {first_bad}"))


def symbol_of(record: Record) -> str:
    """The instrument of a record."""
    return record.instrument if isinstance(record, PriceRow) else record.symbol


def time_of(record: Record) -> str:
    """The time of a record; of a candle, its start."""
    return record.start_time if isinstance(record, CandleRow) else record.time
