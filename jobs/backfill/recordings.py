"""Recorded files as rows for the store: recognised by their format, checked record by record.

`jobs.feeds.files.formats` recognises and reads a file. This module looks at its first records,
numbers its equal quotes, and turns its records into rows. `db.admission` checks every row.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from db.admission import NotAdmitted, Windows, check_candle, check_quote, check_trade, open_windows
from db.candles import CandleRow
from db.decimals import halfway
from db.intervals import candle_start
from db.messages import Trade
from db.prices import PriceRow
from db.timestamps import format_time, parse_time
from jobs.feeds.base import as_source_error
from jobs.feeds.binance.messages import NAME as BINANCE
from jobs.feeds.candle_rows import candle_row
from jobs.feeds.files.formats.detect import detect
from jobs.feeds.files.formats.first_look import FIRST_RECORDS, interval_of, refuse_mostly_bad
from jobs.feeds.files.formats.model import Candle, FileRefused, Item, Line, Options, Quote, Recognised, Record, UnknownFormat, shown
from jobs.feeds.files.text_files import Undamaged, text_lines
from jobs.feeds.occurrences import numbered, scattered

Row: TypeAlias = PriceRow | Trade | CandleRow
OnBad: TypeAlias = Callable[[str, ValueError], None]
_MakeRow: TypeAlias = Callable[[int, Record], Row]  # raises `ValueError` for a record that is not admitted

PREFIX = "import:"  # of `source` in the rows of files
FIRST_LINES = 10_000  # lines at most of which the first records are made
_HELD = 1 << 40  # places of quotes that are moved to the end: beyond every line


@dataclass(frozen=True, slots=True)
class Recording:
    """A file of known format; `digest` is the SHA-256 of its bytes.

    `source` is that of its rows. `interval` is that of its candles; None if it has none, or if each
    candle has its own. `apart` has instrument and time of the quotes that do not stand together.
    """

    file: Path
    digest: str
    format: Recognised
    source: str
    interval: str | None
    apart: frozenset[tuple[str, str]]

    @property
    def epoch(self) -> str:
        """`epoch` of the file's quotes: equal for packed and unpacked files, without characters to
        quote.
        """
        return "file:" + re.sub(r"[^A-Za-z0-9_.-]", "_", re.sub(r"\.(gz|zip)$", "", self.file.name))


def open_recording(
    file: Path,
    calendars: Mapping[str, str],
    options: Options | None = None,
    *,
    source: str | None = None,
    now: datetime,
    strict: bool = True,
    taken: Callable[[int], object] = lambda position: None,
) -> Recording:
    """Recognise a file by its first records.

    `calendars` maps every existing instrument to its calendar; `now` is the clock's reading.
    `source` is the name after `import:`, by default the format's vendor. `taken` is called with the
    number of bytes read, and may raise to stop the reading. Raises `FileRefused`, with `strict`
    also if most of the first records are bad, and `SourceError` if the file is missing.
    """
    digest = _digest(file)
    found = _detected(file, options or Options(), calendars, taken)
    texts: dict[int, str] = {}
    first = list(islice(found.read(_first_lines(file, found, texts)), FIRST_RECORDS))
    needed = found.interval is None and any(isinstance(record, Candle) and record.interval is None for _, record in first)
    interval = interval_of(first) if needed else found.interval
    recording = Recording(file, digest, found, PREFIX + (source or found.vendor), interval, frozenset())
    _refuse_foreign_days(recording, calendars, first, texts)
    if strict:
        make = _row_maker(recording, calendars, now)
        refuse_mostly_bad([(place, _checked(make, place, record)) for place, record in first], texts, unit=found.unit)
    if found.kind != "ticks":
        return recording
    return Recording(file, digest, found, recording.source, interval, frozenset(scattered(lambda: _origins(recording, taken))))


def read(
    recording: Recording,
    calendars: Mapping[str, str],
    on_bad: OnBad,
    *,
    now: datetime,
    after: int = 0,
    taken: Callable[[int], object] = lambda position: None,
) -> Iterator[tuple[int, Row]]:
    """Every admitted record beyond place `after`, with its place: the number of its line or JSON
    candle, from 1.

    `on_bad` is called with place and fault of every other record, `taken` with the number of bytes
    read. Raises `FileRefused` at a line that concerns the whole file, and `SourceError` after the
    last whole line if the file is damaged.
    """
    make, unit = _row_maker(recording, calendars, now), recording.format.unit
    quotes = recording.format.kind == "ticks"

    def admitted() -> Iterator[tuple[int, Row]]:
        # All lines are read: those before `after` may decide how later ones are.
        for place, record in recording.format.read(_lines(recording.file, taken)):
            if place <= after and not quotes:
                continue
            row = _attempt(make, place, record)
            if not isinstance(row, ValueError):
                yield place, row
            elif place > after:
                on_bad(f"{unit} {place}", row)

    if not quotes:
        yield from admitted()
        return
    undamaged = Undamaged((place, row) for place, row in admitted() if isinstance(row, PriceRow))
    yield from (found for found in numbered(undamaged, recording.apart, _HELD) if found[0] > after)
    undamaged.raise_damage()


def _digest(file: Path) -> str:
    """The SHA-256 of a file's bytes. Raises `SourceError` if it cannot be read."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise as_source_error(error) from error


def _detected(file: Path, options: Options, calendars: Mapping[str, str], taken: Callable[[int], object]) -> Recognised:
    """The format of a file. Raises `FileRefused`, and `SourceError` if it has no whole line."""
    lines = Undamaged(_lines(file, taken))
    try:
        return detect(lines, options, name=file.name, instruments=calendars)
    except UnknownFormat:
        lines.raise_damage()
        raise


def _lines(file: Path, taken: Callable[[int], object] = lambda position: None) -> Iterator[Line]:
    return enumerate(text_lines(file, taken), start=1)


def _first_lines(file: Path, found: Recognised, texts: dict[int, str]) -> Iterator[Line]:
    """The beginning of the file, a JSON file whole; `texts` receives the lines."""
    if found.unit != "line":
        yield from Undamaged(_lines(file))
        return
    for number, line in islice(Undamaged(_lines(file)), FIRST_LINES):
        texts[number] = line
        yield number, line


def _origins(recording: Recording, taken: Callable[[int], object]) -> Iterator[tuple[str, str]]:
    """Instrument and time of every quote that can be read."""
    for _, quote in recording.format.read(Undamaged(_lines(recording.file, taken))):
        if isinstance(quote, Quote):
            yield quote.instrument, quote.time


def _refuse_foreign_days(recording: Recording, calendars: Mapping[str, str], first: Sequence[Item], texts: Mapping[int, str]) -> None:
    """Raise `FileRefused` if the long FX candles of a file begin at other hours than ours."""
    foreign, checked = [], 0
    for place, record in first:
        if isinstance(record, Candle) and calendars.get(record.instrument) == "fx":
            interval = record.interval or recording.interval
            if interval in ("4h", "1d"):
                checked += 1
                start = parse_time(record.start)
                if candle_start("fx", interval, start) != start:
                    foreign.append((place, interval, record.instrument))
    if 2 * len(foreign) <= checked:
        return
    place, interval, symbol = foreign[0]
    line = f". Line {place}: {shown(texts[place])}" if place in texts else ""
    raise FileRefused(f"{interval} candles of {symbol} begin at 17:00 New York; import 1h or 1m instead{line}")


def _row_maker(recording: Recording, calendars: Mapping[str, str], now: datetime) -> _MakeRow:
    venue = BINANCE if recording.format.vendor == BINANCE else ""
    windows = open_windows("recorded", calendars, now, source=venue)
    if recording.format.kind == "ticks":
        return _quote_maker(recording.source, recording.epoch, windows)
    if recording.format.kind == "candles":
        return _candle_maker(recording, windows, format_time(now))

    def trade(place: int, record: Record) -> Row:
        assert isinstance(record, Trade)  # noqa: S101 - of the format's kind
        check_trade(record, windows[record.symbol])
        return record

    return trade


def _quote_maker(source: str, epoch: str, windows: Windows) -> _MakeRow:
    def row(place: int, record: Record) -> Row:
        assert isinstance(record, Quote)  # noqa: S101 - of the format's kind
        symbol, moment, bid, ask, mid, volume = record
        window = windows[symbol]
        price = PriceRow(symbol, moment, moment, bid, ask, halfway(bid, ask) if mid is None else mid, volume, source, epoch, place)
        check_quote(price, window)
        return price

    return row


def _candle_maker(recording: Recording, windows: Windows, now: str) -> _MakeRow:
    def row(place: int, record: Record) -> Row:
        assert isinstance(record, Candle)  # noqa: S101 - of the format's kind
        window, interval = windows[record.instrument], record.interval or recording.interval
        if interval is None:
            raise ValueError("the interval of this candle is not known")
        if not record.complete:
            raise NotAdmitted(f"{interval} of {record.instrument}, {record.start}", "not_ended")
        candle = candle_row(
            record.instrument, window.market, interval, record.start, record.mid, record.bid, record.ask,
            volume=record.volume, trades=record.trades, complete=True, source=recording.source,
        )  # fmt: skip
        try:
            check_candle(candle, window, now)
        except NotAdmitted as error:
            if error.kind == "not_ended":
                raise NotAdmitted(f"{interval} of {candle.symbol}, {candle.start_time}", error.kind) from None
            raise
        return candle

    return row


def _attempt(make: _MakeRow, place: int, record: Record | ValueError) -> Row | ValueError:
    """The row of a record, or its fault."""
    if isinstance(record, ValueError):
        return record
    try:
        return make(place, record)
    except ValueError as error:
        return error


def _checked(make: _MakeRow, place: int, record: Record | ValueError) -> Record | ValueError:
    """The record if it is admitted, else its fault."""
    row = _attempt(make, place, record)
    return row if isinstance(row, ValueError) else record
