"""The format of recordings in CSV: quotes or candles, known by the header line.

- ticks, `time,bid,ask`: each line is one tick; mid is exactly halfway.
- candles, `time,volume,mid_o…mid_c,bid_o…bid_c,ask_o…ask_c`: each candle is read as its opening
  quote (bid_o, ask_o, mid_o) at the candle's start. That quote existed at that time. The course
  inside the candle is not in the file and is not invented. The candle's volume, known only at its
  end, is left out.

The instrument comes from the column `instrument`, or else from the file's name
(`EUR_USD_20140505.csv.gz`). Digits of prices and times of the recording are kept; a time without an
offset is UTC. This module reads the format; `db.admission` checks the records.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from pathlib import Path

from db.admission import check_quote, open_windows
from db.decimals import is_decimal, middle, plain_decimal
from db.messages import Tick
from db.timestamps import format_time, parse_time
from jobs.feeds.base import BadInput, as_source_error
from jobs.feeds.files.text_files import Undamaged, text_lines

DELIMITERS = ",;\t"
ORDER_ROWS = 1_000  # lines at the beginning that decide whether a recording is in reverse order
MAX_REVERSED_BYTES = 200_000_000  # a recording in reverse order is read whole
_UNIX_UNITS = {10: 1_000_000, 13: 1_000, 16: 1}  # digits -> microseconds per unit; 19 digits are nanoseconds
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Line = tuple[int, str]  # number in the file, from 1, and text


@dataclass(frozen=True, slots=True)
class Quote:
    """One line as it is written; nothing but its time is checked."""

    instrument: str
    time: datetime
    bid: str
    ask: str
    mid: str


@dataclass(frozen=True, slots=True)
class Row:
    """One admitted line of a recording."""

    line: int
    time: datetime
    tick: Tick


class TimeColumn:
    """The notation of a recording's times; the first time that can be read decides.

    Either texts (`db.timestamps`), or Unix times of 10, 13, 16 or 19 digits: s, ms, µs or ns.
    """

    def __init__(self) -> None:
        self._digits: int | None = None  # of Unix times; 0: texts; None: no time was read yet

    def parse(self, text: str) -> datetime:
        """The time in UTC. Raises `ValueError` for another notation than that of the first time."""
        digits = len(text) if text.isascii() and text.isdigit() else 0
        if self._digits is not None and digits != self._digits:
            raise ValueError(f"time {text[:40]!r} is not in the notation of the first time")
        moment = _unix_time(text) if digits else parse_time(text)
        self._digits = digits
        return moment


class CsvRecording:
    """The columns of a recording, by its header line.

    Raises `SourceError` if the header is of no known format, or the file of no known instrument.
    """

    def __init__(self, file: Path, header: str, instruments: Collection[str]) -> None:
        self._delimiter = max(DELIMITERS, key=header.count)
        try:
            names = [name.lower() for name in self._split(header)]
        except ValueError:
            names = []
        self.columns = {name: index for index, name in enumerate(names)}
        self._width = len(names)
        self._time = TimeColumn()
        for bid, ask, mid in (("bid", "ask", "mid"), ("bid_o", "ask_o", "mid_o")):
            if {"time", bid, ask} <= self.columns.keys():
                self._places = self.columns[bid], self.columns[ask], self.columns.get(mid)
                break
        else:
            raise as_source_error(BadInput(f"recording {file} is of no known format: its first line is {header.strip()[:80]!r}"))
        self._symbol = None if "instrument" in self.columns else instrument_of(file, instruments)

    def fields(self, line: str) -> list[str]:
        """The fields of a line, without quotation marks and blanks around them."""
        fields = self._split(line)
        if len(fields) != self._width:
            raise ValueError(f"{len(fields)} fields instead of {self._width}")
        return fields

    def origin(self, fields: list[str]) -> tuple[str, datetime]:
        """Instrument and time of a line's fields."""
        symbol = instrument_name(fields[self.columns["instrument"]]) if self._symbol is None else self._symbol
        return symbol, self._time.parse(fields[self.columns["time"]])

    def quote(self, line: str) -> Quote:
        """The line as a quote. Raises `ValueError` that names the fault of its format."""
        fields = self.fields(line)
        symbol, moment = self.origin(fields)
        bid, ask = (plain_decimal(fields[place]) for place in self._places[:2])
        mid = halfway(bid, ask) if self._places[2] is None else plain_decimal(fields[self._places[2]])
        return Quote(symbol, moment, bid, ask, mid)

    def _split(self, line: str) -> list[str]:
        """Each line by itself, so that one quotation mark too many costs one line."""
        line = line.rstrip("\r\n")
        if '"' not in line:
            return [field.strip() for field in line.split(self._delimiter)]
        try:
            return [field.strip() for field in next(csv.reader([line], delimiter=self._delimiter, skipinitialspace=True))]
        except csv.Error as error:
            raise ValueError(f"no line of CSV: {error}") from None


def halfway(bid: str, ask: str) -> str:
    """The exact mean; if one of the two is no decimal, that one: the admission refuses it."""
    if not is_decimal(bid):
        return bid
    return middle(bid, ask) if is_decimal(ask) else ask


def instrument_name(text: str) -> str:
    """An instrument's name as it is written in files: `eur/usd` and `EUR-USD` are EUR_USD."""
    return text.upper().replace("/", "_").replace("-", "_")


def instrument_of(file: Path, instruments: Collection[str]) -> str:
    """The instrument that a recording's name begins with, in any case.

    EUR_USD in `EUR_USD_20140505.csv.gz` and `eur-usd 2014.csv`: any character but a letter or digit
    ends the instrument.
    """
    name = instrument_name(file.name)
    for symbol in sorted(instruments, key=len, reverse=True):
        if name.startswith(symbol) and not name[len(symbol) : len(symbol) + 1].isalnum():
            return symbol
    raise as_source_error(BadInput(f"recording {file} names no known instrument: neither a column nor its file name does"))


def numbered_lines(file: Path) -> tuple[Line, Iterator[Line]]:
    """The first line that is not blank, and the lines after it. Errors as in `text_lines`."""
    lines = enumerate(text_lines(file), start=1)
    return next((line for line in lines if line[1].strip()), (1, "")), lines


def count_ticks(file: Path) -> int:
    """The number of lines with ticks in a recording, bad ones included.

    If the recording is damaged, the lines before the damage count. Raises `SourceError` if the file
    cannot be read.
    """
    _, lines = numbered_lines(file)
    return sum(1 for _, line in Undamaged(lines) if line.strip())


def read_rows(
    file: Path, source: str, calendars: Mapping[str, str], on_bad: Callable[[int, ValueError], None], *, now: datetime
) -> Iterator[Row]:
    """Every line of a recording that is admitted, as a tick of `source`.

    They come in the file's order, or in reverse if the newest is the first. `calendars` maps every
    existing instrument to its calendar; `now` is the clock's reading. `on_bad` is called with
    number and fault of every other line. Raises `SourceError` if the file is missing, of unknown
    format, or of no known instrument; after the last whole line if it is damaged.
    """
    (_, header), lines = numbered_lines(file)
    recording = CsvRecording(file, header, calendars)
    windows = open_windows("recorded", calendars, now)
    for number, line in _oldest_first(file, lines, recording):
        if not line.strip():
            continue
        try:
            quote = recording.quote(line)
            window = windows[quote.instrument]
            tick = Tick(quote.instrument, bid=quote.bid, ask=quote.ask, mid=quote.mid, time=format_time(quote.time), source=source)
            check_quote(tick, window)
        except ValueError as error:
            on_bad(number, error)
        else:
            yield Row(number, quote.time, tick)


def _oldest_first(file: Path, lines: Iterator[Line], recording: CsvRecording) -> Iterator[Line]:
    """The lines, in reverse if the times of the first ones fall."""
    undamaged = Undamaged(lines)
    following = iter(undamaged)
    first = list(islice(following, ORDER_ROWS))
    if _falls(first, recording):
        size = 0
        for line in following:
            size += len(line[1])
            if size > MAX_REVERSED_BYTES:
                raise as_source_error(BadInput(f"recording {file} begins with its newest line and is larger than 200 MB: sort it by time"))
            first.append(line)
        yield from reversed(first)
    else:
        yield from chain(first, following)
    undamaged.raise_damage()


def _falls(lines: Iterable[Line], recording: CsvRecording) -> bool:
    """True if more times are earlier than the one before than later."""
    falls, last = 0, None
    for _, line in lines:
        try:
            _, moment = recording.origin(recording.fields(line))
        except ValueError:
            continue
        if last is not None:
            falls += (moment < last) - (moment > last)
        last = moment
    return falls > 0


def _unix_time(digits: str) -> datetime:
    """A Unix time in UTC; its unit follows from the number of digits.

    Digits beyond microseconds are cut.
    """
    if len(digits) == 19:
        digits = digits[:16]
    if len(digits) not in _UNIX_UNITS:
        raise ValueError(f"{digits[:40]!r} is neither a time nor a Unix time of 10, 13, 16 or 19 digits")
    return _EPOCH + timedelta(microseconds=int(digits) * _UNIX_UNITS[len(digits)])
