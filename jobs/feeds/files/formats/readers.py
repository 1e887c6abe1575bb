"""Readers of delimited lines: quotes and candles by the places of their fields. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from db.decimals import plain_decimal
from jobs.feeds.files.formats.clock import Times
from jobs.feeds.files.formats.columns import PRICES, Split
from jobs.feeds.files.formats.model import AmbiguousDate, Candle, Item, Line, Ohlc, Quote
from jobs.feeds.files.formats.names import ColumnNames

Read = Callable[[Iterable[Line]], Iterator[Item]]
Places = Mapping[str, tuple[int, ...]]  # field -> indices of its columns


Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Shape:
    """How the lines of a file are read.

    `width` is the number of fields; None if it varies. `header` is True if the first line that is
    not blank is a header. `instrument` is that of all lines; if None, the field `instrument` has
    it, and `keep` is the only one that is wanted, if it is not None.
    """

    split: Split
    places: Places
    times: Callable[[], Times]
    header: bool
    width: int | None
    instrument: str | None
    names: ColumnNames
    keep: str | None = None


def quotes(shape: Shape) -> Read:
    """The reader of quotes; a file of one price has `mid` alone."""
    places = shape.places
    bid, ask = (places.get(side, places.get("mid", (0,)))[0] for side in ("bid", "ask"))
    mid, volume = (places[field][0] if field in places else None for field in ("mid", "volume"))

    def record(fields: list[str], instrument: str, moment: str) -> Quote:
        return Quote(
            instrument,
            moment,
            price(fields[bid]),
            price(fields[ask]),
            None if mid is None else price(fields[mid]) or None,
            None if volume is None else price(fields[volume]) or None,
        )

    return lambda lines: records(shape, lines, record)


def candles(shape: Shape) -> Read:
    """The reader of candles; those of one price have it in `open … close`."""
    places = shape.places
    sides = [_side(places, prefix) for prefix in ("", "bid_", "ask_")]
    volumes = places.get("volume", ())
    trades, complete, interval = (places[field][0] if field in places else None for field in ("trades", "complete", "interval"))

    def record(fields: list[str], instrument: str, moment: str) -> Candle:
        mid, bid, ask = (None if side is None else _ohlc(fields, side) for side in sides)
        return Candle(
            instrument,
            moment,
            mid,
            bid,
            ask,
            _volume(fields, volumes),
            None if trades is None else count(fields[trades]),
            complete is None or fields[complete].strip().lower() != "false",
            None if interval is None else fields[interval].strip() or None,
        )

    return lambda lines: records(shape, lines, record)


def price(text: str) -> str:
    """A field as a decimal text: without blanks around it, an exponent as plain digits."""
    text = text.strip()
    return plain_decimal(text) if "e" in text or "E" in text else text


def decimal(value: object) -> str:
    """A price of JSON, which is a decimal text: a number has lost its digits."""
    if not isinstance(value, str):
        raise ValueError(f"price {str(value)[:40]} that is not a string")
    return price(value)


def count(text: str) -> int | None:
    """A number of trades or quotes; None for an empty field."""
    text = text.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ValueError(f"{text[:40]!r} is not a number of trades")
    return int(text)


def _volume(fields: list[str], places: Sequence[int]) -> str | None:
    """The first volume that is not 0; the last one if there is none, and None if that is empty."""
    found = ""
    for place in places:
        found = price(fields[place])
        if found.strip("0."):
            break
    return found or None


def _side(places: Places, prefix: str) -> tuple[int, int, int, int] | None:
    if f"{prefix}open" not in places:
        return None
    opened, high, low, close = (places[f"{prefix}{each}"][0] for each in PRICES)
    return opened, high, low, close


def _ohlc(fields: list[str], side: tuple[int, int, int, int]) -> Ohlc:
    opened, high, low, close = side
    return price(fields[opened]), price(fields[high]), price(fields[low]), price(fields[close])


def content(lines: Iterable[Line], *, header: bool) -> Iterator[Line]:
    """The lines that are not blank, without the header."""
    passed = not header
    for numbered in lines:
        if not numbered[1].isspace() and numbered[1]:
            if passed:
                yield numbered
            passed = True


def records(
    shape: Shape, lines: Iterable[Line], record: Callable[[list[str], str, str], Found]
) -> Iterator[tuple[int, Found | ValueError]]:
    """What `record` makes of fields, instrument and time of each line, or the line's fault."""
    split, width, names, keep = shape.split, shape.width, shape.names, shape.keep
    first, *more = shape.places["time"]
    column = shape.places["instrument"][0] if shape.instrument is None else None
    instrument = shape.instrument or ""
    parse = shape.times().parse
    for number, line in content(lines, header=shape.header):
        try:
            fields = split(line)
            if width is not None and len(fields) != width:
                raise ValueError(f"{len(fields)} fields instead of {width}")
            if column is not None:
                instrument = names[fields[column]]
                if keep is not None and instrument != keep:
                    continue
            text = fields[first].strip()
            if more:
                text = " ".join([text, *(fields[place].strip() for place in more)]).rstrip()
            yield number, record(fields, instrument, parse(text, instrument))
        except ValueError as error:
            yield number, error
        except IndexError:
            yield number, ValueError(f"only {len(fields)} fields")
        except AmbiguousDate as error:
            raise error.at(number) from None
