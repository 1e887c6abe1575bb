"""Recorded prices, played again at their own pace or faster.

Recordings are CSV, plain or gzipped, and known by their header line:

- ticks, `time,bid,ask`: each line is one tick; mid is exactly halfway.
- candles, `time,volume,mid_o…mid_c,bid_o…bid_c,ask_o…ask_c`: each candle is played as its opening quote (bid_o, ask_o, mid_o) at the
  candle's start. That quote was really there at that time; what happened inside the candle is not in the file and is not invented,
  and the candle's volume, known only at its end, is left out.

The instrument comes from the column `instrument` where there is one, else from the file's name (`EUR_USD_20140505.csv.gz`).
Digits of prices and the times of the recording are kept; a time without an offset is UTC.
"""

from __future__ import annotations

import gzip
import logging
import re
import threading
import time
import zlib
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path

from config.settings import SourceSpec
from db.decimals import middle
from db.messages import Tick
from db.timestamps import format_time, parse_time
from jobs.feeds.base import BadInput, Source, as_source_error

log = logging.getLogger(__name__)

BATCH = 500  # ticks in one batch at most
_LONGEST_WAIT = 3600.0  # seconds; Event.wait overflows on the gap that one wild time in a file makes
_PRICE = re.compile(r"\d{1,15}(\.\d{1,15})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Row:
    """One checked line of a recording."""

    instrument: str
    time: datetime
    bid: str
    ask: str
    mid: str | None


@dataclass(frozen=True, slots=True)
class Layout:
    """Which column of a recording is what. `mid` and `instrument` are None where the file has no such column."""

    width: int
    time: int
    bid: int
    ask: int
    mid: int | None
    instrument: int | None


class Pace:
    """When each moment of a recording is due, counted from the first one asked for: waiting late once does not delay the rest."""

    def __init__(self, speed: float | None, monotonic: Callable[[], float]) -> None:
        self._speed = speed
        self._monotonic = monotonic
        self._origin: tuple[datetime, float] | None = None  # a moment of the recording, and the monotonic time it was played at

    def delay(self, moment: datetime) -> float:
        """Seconds until `moment` is due; 0 or less where it is."""
        if self._speed is None:
            return 0.0
        if self._origin is None:
            self._origin = (moment, self._monotonic())
        first, started = self._origin
        return started + (moment - first).total_seconds() / self._speed - self._monotonic()

    def wait(self, moment: datetime, stop: threading.Event) -> bool:
        """Wait until `moment` is due; False where `stop` was set instead."""
        while (delay := self.delay(moment)) > 0 and not stop.wait(min(delay, _LONGEST_WAIT)):
            pass
        return not stop.is_set()


class ReplaySource(Source[tuple[Row, ...]]):
    """A recording as a source: `spec` gives file, speed (None is as fast as it is taken) and whether to begin again at its end.

    Lines that are due together are one batch. Bad lines are counted in `bad_lines`, the first is logged, all are skipped.
    `instruments` are the symbols that exist; a line of any other is bad.
    """

    def __init__(self, spec: SourceSpec, instruments: Collection[str], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        if spec.file is None:
            raise ValueError("a replay needs a file")
        self.name = spec.name
        self.bad_lines = 0
        self._file = spec.file
        self._speed = spec.speed
        self._loop = spec.loop
        self._instruments = frozenset(instruments)
        self._monotonic = monotonic
        self._taken = 0  # rows of this round that were yielded: where to go on after a fault
        self._bad_logged = False

    def fetch(self, stop: threading.Event) -> Generator[tuple[Row, ...], None, None]:
        while not stop.is_set():
            self.bad_lines = 0
            rows = islice(read_rows(self._file, self._instruments, self._note_bad), self._taken, None)
            for batch in self._batches(rows, stop):
                self._taken += len(batch)
                yield batch
            if stop.is_set():
                return
            self._end_round()
            if not self._loop:
                return

    def parse(self, raw: Sequence[Row]) -> list[Tick]:
        return [
            Tick(
                row.instrument,
                bid=row.bid,
                ask=row.ask,
                mid=row.mid or middle(row.bid, row.ask),
                time=format_time(row.time),
                source=self.name,
            )
            for row in raw
        ]

    def _batches(self, rows: Iterator[Row], stop: threading.Event) -> Iterator[tuple[Row, ...]]:
        pace = Pace(self._speed, self._monotonic)
        batch: list[Row] = []
        for row in rows:
            if batch and (len(batch) == BATCH or pace.delay(row.time) > 0):
                yield tuple(batch)
                batch = []
            if not pace.wait(row.time, stop):
                return
            batch.append(row)
        if batch:
            yield tuple(batch)

    def _end_round(self) -> None:
        if not self._taken:
            raise as_source_error(BadInput(f"recording {self._file} has no readable line"))
        message = "recording begins again" if self._loop else "recording ended"
        log.info(message, extra={"source": self.name, "ticks": self._taken, "bad_lines": self.bad_lines})
        self._taken = 0

    def _note_bad(self, line: int, reason: str) -> None:
        self.bad_lines += 1
        if not self._bad_logged:
            self._bad_logged = True
            log.warning(
                "recording has a bad line, skipped; more of them are only counted",
                extra={"source": self.name, "line": line, "reason": reason},
            )


def count_ticks(file: Path) -> int:
    """How many ticks a recording has, bad lines included, without looking at any; `SourceError` where the file cannot be read."""
    lines = text_lines(file)
    detect(file, next(lines, ""))
    return sum(1 for line in lines if line.strip())


def read_rows(file: Path, instruments: Collection[str], on_bad: Callable[[int, str], None]) -> Iterator[Row]:
    """Every good line of a recording, in the file's order. `on_bad` gets the number (the header is 1) and fault of every other.

    Raises `SourceError` where the file is missing, damaged, of unknown format, or of no known instrument.
    """
    lines = text_lines(file)
    layout = detect(file, next(lines, ""))
    symbol = None if layout.instrument is not None else instrument_of(file, instruments)
    for number, line in enumerate(lines, start=2):
        if not line.strip():
            continue
        try:
            row = check(line.strip().split(","), layout, symbol, instruments)
        except ValueError as error:
            on_bad(number, str(error))
        else:
            yield row


def detect(file: Path, header: str) -> Layout:
    """The layout that a header line announces."""
    columns = {name.strip(): index for index, name in enumerate(header.split(","))}
    for bid, ask, mid in (("bid", "ask", "mid"), ("bid_o", "ask_o", "mid_o")):
        if {"time", bid, ask} <= columns.keys():
            return Layout(len(columns), columns["time"], columns[bid], columns[ask], columns.get(mid), columns.get("instrument"))
    raise as_source_error(BadInput(f"recording {file} is of no known format: its first line is {header.strip()[:80]!r}"))


def instrument_of(file: Path, instruments: Collection[str]) -> str:
    """The instrument in a recording's name: EUR_USD in `EUR_USD_20140505.csv.gz`, whatever its case."""
    stem = file.name.split(".")[0].upper()
    for symbol in sorted(instruments, key=len, reverse=True):
        if stem == symbol or stem.startswith(f"{symbol}_"):
            return symbol
    raise as_source_error(BadInput(f"recording {file} names no known instrument: neither a column nor its file name does"))


def check(fields: list[str], layout: Layout, symbol: str | None, instruments: Collection[str]) -> Row:
    """A line as a row; `ValueError` says what is wrong with it."""
    if len(fields) != layout.width:
        raise ValueError(f"{len(fields)} fields instead of {layout.width}")
    if layout.instrument is not None:
        symbol = fields[layout.instrument]
    if symbol is None or symbol not in instruments:
        raise ValueError(f"unknown instrument {symbol!r}")
    bid, ask = fields[layout.bid], fields[layout.ask]
    mid = None if layout.mid is None else fields[layout.mid]
    for price in (bid, ask) if mid is None else (bid, mid, ask):
        if not _PRICE.fullmatch(price) or not Decimal(price):
            raise ValueError(f"{price!r} is not a price")
    if Decimal(bid) > Decimal(ask):
        raise ValueError(f"bid {bid} is above ask {ask}")
    return Row(symbol, parse_time(fields[layout.time]), bid, ask, mid)


def text_lines(file: Path) -> Iterator[str]:
    """The lines of a plain or gzipped text file; what goes wrong while reading becomes a `SourceError`."""
    opened = gzip.open if file.suffix == ".gz" else open
    try:
        with opened(file, "rt", encoding="utf-8-sig", errors="replace") as text:
            yield from text
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise as_source_error(BadInput(f"recording {file} is damaged: {error}")) from error
    except OSError as error:
        raise as_source_error(error) from error
