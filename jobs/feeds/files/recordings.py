"""Recordings for a replay: files of every format with quotes, read by `jobs.feeds.files.formats`.

Candles with bid and ask are read as their opening quotes at their starts. Such a quote existed at
that time. The course inside the candle is not in the file and is not invented. The candle's volume,
known only at its end, is left out. `db.admission` checks the quotes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice, pairwise
from pathlib import Path

from db.admission import check_quote, open_windows
from db.decimals import halfway
from db.messages import Tick
from db.timestamps import parse_time
from jobs.feeds.base import BadInput, SourceError, as_source_error
from jobs.feeds.files.formats import names
from jobs.feeds.files.formats.detect import detect
from jobs.feeds.files.formats.format import HEAD_LINES
from jobs.feeds.files.formats.model import BadOptionValue, Candle, FileRefused, Item, Line, Options, Quote, Recognised, Record
from jobs.feeds.files.text_files import Undamaged, text_lines

ORDER_LINES = 1_000  # lines at the beginning that decide whether a recording is in reverse order
MAX_REVERSED_BYTES = 200_000_000  # a recording in reverse order is read whole


@dataclass(frozen=True, slots=True)
class Row:
    """One admitted line of a recording."""

    line: int
    time: datetime
    tick: Tick


def instrument_of(file: Path, instruments: Collection[str]) -> str:
    """The instrument in a recording's name, as formats of other vendors write it too.

    Raises `SourceError` if there is none.
    """
    found = names.joined_instrument_of(file.name, instruments)
    if found is None:
        raise as_source_error(BadInput(f"recording {file} names no known instrument: neither a column nor its file name does"))
    return found


def count_ticks(file: Path, instruments: Collection[str], options: Options | None = None) -> int:
    """The number of lines with ticks in a recording, bad ones included.

    If the recording is damaged, the lines before the damage count. Raises `SourceError` if the file
    cannot be read.
    """
    opened = _open(file, instruments, options or Options())
    if opened.format.unit != "line":
        return sum(1 for _ in opened.format.read(opened.lines))
    return sum(1 for _, line in opened.lines if line.strip()) - opened.format.header


def read_rows(
    file: Path,
    source: str,
    calendars: Mapping[str, str],
    on_bad: Callable[[int, ValueError], None],
    *,
    now: datetime,
    options: Options | None = None,
) -> Iterator[Row]:
    """Every line of a recording that is admitted, as a tick of `source`.

    They come in the file's order, or in reverse if the newest is the first. `calendars` maps every
    existing instrument to its calendar; `now` is the clock's reading. `on_bad` is called with
    number and fault of every other line. Raises `SourceError` if the file is missing, of a format
    without quotes, or of no known instrument; after the last whole line if it is damaged.
    """
    opened = _open(file, calendars, options or Options())
    windows = open_windows("recorded", calendars, now)
    try:
        for number, item in opened.format.read(_oldest_first(file, opened)):
            try:
                quote = _quote(opened.format, item)
                window = windows[quote.instrument]
                mid = halfway(quote.bid, quote.ask) if quote.mid is None else quote.mid
                tick = Tick(quote.instrument, quote.bid, quote.ask, mid, quote.time, source, quote.volume)
                check_quote(tick, window)
            except ValueError as error:
                on_bad(number, error)
            else:
                yield Row(number, parse_time(quote.time), tick)
    except FileRefused as error:
        raise _refused(file, error) from error
    opened.undamaged.raise_damage()


@dataclass(frozen=True, slots=True)
class _Opened:
    """A file of known format; `lines` are all its lines up to a damage, to be read once."""

    format: Recognised
    lines: Iterator[Line]
    undamaged: Undamaged[Line]


def _open(file: Path, instruments: Collection[str], options: Options) -> _Opened:
    undamaged = Undamaged(enumerate(text_lines(file), start=1))
    following = iter(undamaged)
    head = list(islice(following, HEAD_LINES))
    if not head:
        undamaged.raise_damage()
    try:
        found = detect(head, options, name=file.name, instruments=instruments)
    except (FileRefused, BadOptionValue) as error:
        raise _refused(file, error) from error
    if found.kind == "trades":
        raise _refused(file, FileRefused(f"{found.format} has trades; a replay takes quotes. manage.py import stores trades"))
    return _Opened(found, chain(head, following), undamaged)


def _refused(file: Path, error: Exception) -> SourceError:
    return as_source_error(BadInput(f"recording {file}: {error}"))


def _quote(recognised: Recognised, item: Record | ValueError) -> Quote:
    """The quote of an item; of a candle, the opening one. Raises the item's fault."""
    if isinstance(item, ValueError):
        raise item
    if isinstance(item, Quote):
        return item
    if not isinstance(item, Candle) or item.bid is None or item.ask is None:
        raise FileRefused(f"{recognised.format} has candles of one price, which have no quotes: manage.py import stores them")
    return Quote(item.instrument, item.start, item.bid[0], item.ask[0], None if item.mid is None else item.mid[0], None)


def _oldest_first(file: Path, opened: _Opened) -> Iterator[Line]:
    """The lines, in reverse behind the header if the times of the first ones fall."""
    following, recognised = opened.lines, opened.format
    if recognised.unit != "line":
        yield from following
        return
    header = list(islice((line for line in following if line[1].strip()), recognised.header))
    first = list(islice(following, ORDER_LINES))
    yield from header
    if _falls(recognised.read([*header, *first])):
        size = 0
        for line in following:
            size += len(line[1])
            if size > MAX_REVERSED_BYTES:
                raise as_source_error(BadInput(f"recording {file} begins with its newest line and is larger than 200 MB: sort it by time"))
            first.append(line)
        yield from reversed(first)
    else:
        yield from chain(first, following)


def _falls(items: Iterable[Item]) -> bool:
    """True if more times are earlier than the one before than later."""
    times = [item.time if isinstance(item, Quote) else item.start for _, item in items if isinstance(item, Quote | Candle)]
    return sum((after < before) - (after > before) for before, after in pairwise(times)) > 0
