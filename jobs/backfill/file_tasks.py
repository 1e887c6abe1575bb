"""Tasks of recorded files: the wanted records in batches, and in months for `--replace`."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import partial

import orjson

from config.pacing import Stopped, Throttle
from db.admission import NotAdmitted
from db.backfills import ALWAYS, FOREVER, Backfill
from db.candles import CandleRow
from db.prices import PriceRow
from db.timestamps import format_time, parse_time
from jobs.backfill.recordings import OnBad, Recording, Row, read
from jobs.backfill.tasks import BackfillTask, HistoryBatch, RecordedMonth, symbol_of, time_of
from jobs.feeds.base import BadInput, as_source_error
from jobs.feeds.binance.messages import OtherTrade
from jobs.feeds.files.formats.model import LeftOut, Options
from jobs.feeds.files.text_files import Undamaged

log = logging.getLogger(__name__)

MAX_ROWS_PER_BATCH = 5_000

Placed = tuple[int, Row]  # place in the file and row


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

    def of(self, found: Iterator[Placed]) -> Iterator[Placed]:
        """The wanted records among those found."""
        low, high = self.bounds
        if not self.symbols and (low, high) == ("", "~"):
            return found
        return (each for each in found if low <= time_of(each[1]) < high and (not self.symbols or symbol_of(each[1]) in self.symbols))


@dataclass(slots=True)
class Contents:
    """What was read of a file: instruments, intervals of candles, first and last time."""

    symbols: set[str] = field(default_factory=set)
    intervals: set[str] = field(default_factory=set)
    first: str | None = None
    last: str | None = None

    def add(self, rows: Sequence[Row]) -> None:
        """Add a batch of rows, which may not be empty."""
        times = [time_of(row) for row in rows]
        self.first = min([*times, self.first or times[0]])
        self.last = max([*times, self.last or times[0]])
        self.symbols.update(map(symbol_of, rows))
        self.intervals.update(row.interval for row in rows if isinstance(row, CandleRow))


def position_key(recording: Recording, options: Options, wanted: Selection) -> str:
    """The name under which the position in a file is kept: by its content and the options."""
    values = [recording.digest, recording.source, asdict(options), wanted.symbols, *wanted.bounds]
    return hashlib.sha256(orjson.dumps(values, option=orjson.OPT_SORT_KEYS)).hexdigest()


def file_task(
    recording: Recording,
    calendars: Mapping[str, str],
    on_bad: OnBad,
    wanted: Selection,
    *,
    now: datetime,
    options: Options | None = None,
    contents: Contents | None = None,
) -> BackfillTask:
    """The wanted records of a recorded file.

    The position is a place in the file. `calendars` maps every existing instrument to its calendar;
    `now` is the clock's reading. `options` are those with which the recording was opened.
    `contents` receives what was read.
    """
    noted = Contents() if contents is None else contents
    size = max(1, recording.file.stat().st_size)

    def batches(position: str | None, stop: threading.Event) -> Iterator[HistoryBatch]:
        reached = [0]
        found = _usable(recording, calendars, on_bad, now, int(position or 0), partial(reached.__setitem__, 0))
        for rows, place in batches_of(wanted.of(_until_stop(found, stop))):
            noted.add(rows)
            yield HistoryBatch(rows, str(place), min(1.0, reached[0] / size))

    def months(stop: threading.Event) -> Iterator[RecordedMonth]:
        def found(note: OnBad) -> Iterator[Placed]:
            return wanted.of(_until_stop(_usable(recording, calendars, note, now, 0), stop))

        return recorded_months(found, on_bad, noted)

    asked = Backfill(f"file:{position_key(recording, options or Options(), wanted)}", "", "", ALWAYS, FOREVER)
    parts = None if recording.format.kind == "trades" else months
    return BackfillTask(recording.file.name, asked, batches, origin="file", months=parts)


def usable_rows(
    recording: Recording, calendars: Mapping[str, str], on_bad: OnBad, wanted: Selection, *, now: datetime, stop: threading.Event
) -> Iterator[Row]:
    """The wanted records of a file, in its order. Raises `Stopped` when `stop` is set."""
    return (row for _, row in wanted.of(_until_stop(_usable(recording, calendars, on_bad, now, 0), stop)))


class _InOrder:
    """Records whose times never fall, one span of time after the other."""

    def __init__(self, records: Iterator[Placed]) -> None:
        self._records = records
        self._next: Placed | None = None

    def between(self, start: str, end: str) -> Iterator[Placed]:
        """The records with `start` <= time <= `end`; those before are passed over."""
        while (found := self._next or next(self._records, None)) is not None:
            self._next = None
            if time_of(found[1]) > end:
                self._next = found
                return
            if time_of(found[1]) >= start:
                yield found


def recorded_months(found: Callable[[OnBad], Iterator[Placed]], on_bad: OnBad, contents: Contents) -> Iterator[RecordedMonth]:
    """The months of every instrument between its first and its last record.

    `found` reads the file: once for the times, and once for all months if the file is of one
    instrument and in order, else once for each month.
    """
    spans: dict[tuple[str, str], tuple[str, str]] = {}  # instrument and interval -> first and last time
    undamaged = Undamaged(found(on_bad))
    rises, before = True, ""
    for _, record in undamaged:
        key, moment = _series_of(record), time_of(record)
        first, last = spans.get(key, (moment, moment))
        spans[key] = min(first, moment), max(last, moment)
        rises, before = rises and moment >= before, moment
    in_order = _InOrder(iter(Undamaged(found(_ignore)))) if rises and len(spans) == 1 else None
    wanted = [(*key, *month) for key, span in spans.items() for month in months_between(*span)]
    read_once: set[str] = set()

    def rows(symbol: str, interval: str, start: str, end: str) -> Iterator[Sequence[Row]]:
        if in_order is not None and start not in read_once:
            read_once.add(start)  # a repeated transaction reads the file again
            records = in_order.between(start, end)
        else:
            records = (each for each in Undamaged(found(_ignore)) if _series_of(each[1]) == (symbol, interval))
            records = (each for each in records if start <= time_of(each[1]) <= end)
        for batch, _ in batches_of(records):
            contents.add(batch)
            yield batch

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


def batches_of(found: Iterator[Placed]) -> Iterator[tuple[list[Row], int]]:
    """The records in batches with the place of the last one; quotes of one time are in one batch.

    If the file is damaged, the records before the damage are a batch before the error.
    """
    rows, place = list[Row](), 0
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


def _series_of(record: Row) -> tuple[str, str]:
    return symbol_of(record), record.interval if isinstance(record, CandleRow) else ""


def _ignore(place: str, error: ValueError) -> None:
    """Bad records are reported when the file is read for the first time."""


def _until_stop(found: Iterator[Placed], stop: threading.Event) -> Iterator[Placed]:
    for each in found:
        if stop.is_set():
            raise Stopped
        yield each


def _usable(
    recording: Recording,
    calendars: Mapping[str, str],
    on_bad: OnBad,
    now: datetime,
    after: int,
    taken: Callable[[int], object] = lambda position: None,
) -> Iterator[Placed]:
    """The admitted records beyond `after`.

    Raises `SourceError` if no record of the file can be read.
    """
    readable, first_bad = bool(after), ""
    throttle = Throttle(monotonic=time.monotonic)

    def note(place: str, error: ValueError) -> None:
        nonlocal first_bad, readable
        first_bad = first_bad or f"{place}: {error}"
        readable = readable or isinstance(error, NotAdmitted | OtherTrade | LeftOut)
        if (count := throttle.due("record")) is not None:
            log.warning(
                "skipped a record of the recording (repeats suppressed for 60 s)",
                extra={"file": recording.file.name, "place": place, "reason": str(error), "count": count},
            )
        on_bad(place, error)

    for found in read(recording, calendars, note, now=now, after=after, taken=taken):
        readable = True
        yield found
    if first_bad and not readable:
        raise as_source_error(BadInput(f"nothing in {recording.file.name} can be used; the first that cannot is {first_bad}"))
