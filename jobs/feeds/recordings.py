"""The format of recordings: CSV of quotes or candles, plain or gzipped, known by its header line.

- ticks, `time,bid,ask`: each line is one tick; mid is exactly halfway.
- candles, `time,volume,mid_o…mid_c,bid_o…bid_c,ask_o…ask_c`: each candle is read as its opening
  quote (bid_o, ask_o, mid_o) at the candle's start. That quote existed at that time. The course
  inside the candle is not in the file and is not invented. The candle's volume, known only at its
  end, is left out.

The instrument comes from the column `instrument`, or else from the file's name
(`EUR_USD_20140505.csv.gz`). Digits of prices and times of the recording are kept; a time without an
offset is UTC.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from db.timestamps import parse_time
from jobs.feeds.base import BadInput, as_source_error

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
    """Positions of a recording's columns; None: the file has no such column."""

    width: int
    time: int
    bid: int
    ask: int
    mid: int | None
    instrument: int | None


def count_ticks(file: Path) -> int:
    """The number of ticks in a recording, bad lines included.

    Raises `SourceError` if the file cannot be read.
    """
    lines = text_lines(file)
    detect(file, next(lines, ""))
    return sum(1 for line in lines if line.strip())


def read_rows(file: Path, instruments: Collection[str], on_bad: Callable[[int, str], None]) -> Iterator[Row]:
    """Every good line of a recording, in the file's order.

    `on_bad` is called with number (the header is 1) and fault of every other line. Raises
    `SourceError` if the file is missing, damaged, of unknown format, or of no known instrument.
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
    """The layout that a header line declares."""
    columns = {name.strip(): index for index, name in enumerate(header.split(","))}
    for bid, ask, mid in (("bid", "ask", "mid"), ("bid_o", "ask_o", "mid_o")):
        if {"time", bid, ask} <= columns.keys():
            return Layout(len(columns), columns["time"], columns[bid], columns[ask], columns.get(mid), columns.get("instrument"))
    raise as_source_error(BadInput(f"recording {file} is of no known format: its first line is {header.strip()[:80]!r}"))


def instrument_of(file: Path, instruments: Collection[str]) -> str:
    """The instrument in a recording's name, in any case: EUR_USD in `EUR_USD_20140505.csv.gz`."""
    stem = file.name.split(".")[0].upper()
    for symbol in sorted(instruments, key=len, reverse=True):
        if stem == symbol or stem.startswith(f"{symbol}_"):
            return symbol
    raise as_source_error(BadInput(f"recording {file} names no known instrument: neither a column nor its file name does"))


def check(fields: list[str], layout: Layout, symbol: str | None, instruments: Collection[str]) -> Row:
    """A line as a row. Raises `ValueError` that names the fault."""
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
    """The lines of a plain or gzipped text file. Raises `SourceError` if it cannot be read."""
    opened = gzip.open if file.suffix == ".gz" else open
    try:
        with opened(file, "rt", encoding="utf-8-sig", errors="replace") as text:
            yield from text
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise as_source_error(BadInput(f"recording {file} is damaged: {error}")) from error
    except OSError as error:
        raise as_source_error(error) from error
