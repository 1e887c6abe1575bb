"""Our own files: CSV with a header, also as `/ticks` and `/candles` export it, and NDJSON. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from jobs.feeds.files.formats.clock import ContractTimes, Times
from jobs.feeds.files.formats.columns import PRICES
from jobs.feeds.files.formats.format import Format, Head, Layout, clock, instrument_of_file, recognised, zone_for
from jobs.feeds.files.formats.model import AmbiguousDate, Candle, Item, Kind, Line, Ohlc, Quote, Recognised
from jobs.feeds.files.formats.names import ColumnNames, interval_in
from jobs.feeds.files.formats.readers import count, decimal
from jobs.feeds.files.formats.zones import UTC_ZONE

_NAME = _VENDOR = "tickwire"
_SIDES = ("", "bid_", "ask_")
_TICKS = ("time", "bid", "ask")
_CANDLES = ("start_time", *PRICES)
_FIELDS = ("mid", "volume", "trades", "complete", "interval", *(f"{side}{price}" for side in _SIDES for price in PRICES))


def _times(head: Head, *, unique: bool, samples: Sequence[str] = ()) -> tuple[Callable[[], Times], str]:
    """The times of the file: without an offset, those of `--timezone` or UTC.

    `samples` are times of the file. If none is in a notation of ours, those of plain tables are
    read.
    """
    ours = not samples or any(map(_is_ours, samples))
    if ours and head.options.timezone is None and head.options.date_format is None:
        return ContractTimes, "UTC"
    zone = zone_for(head, _NAME, UTC_ZONE)
    return clock(head, zone, unique=unique), zone.name


def _is_ours(text: str) -> bool:
    try:
        ContractTimes().parse(text, "")
    except ValueError:
        return False
    return True


def _table(head: Head, kind: Kind, time: str, needed: tuple[str, ...]) -> Recognised:
    columns = {"time": time, "instrument": "instrument" if head.table.has("instrument") else "symbol"}
    columns |= {field: field for field in ("bid", "ask", *_FIELDS)}
    places = head.table.places(columns)
    place = head.table.place(time) or 0
    samples = [fields[place] for number in range(1, len(head.lines)) if len(fields := head.fields(number)) > place]
    times, zone = _times(head, unique=kind == "candles", samples=samples)
    return recognised(head, Layout(_NAME, _VENDOR, kind, places, needed, times, zone, width=head.table.width, joined=False))


def _ticks(head: Head) -> Recognised:
    return _table(head, "ticks", "time", _TICKS)


def _candles(head: Head) -> Recognised:
    return _table(head, "candles", "start_time", ("time", *PRICES))


def _object(head: Head) -> Mapping[str, Any]:
    """The first line as a JSON object; empty if it is none."""
    try:
        found = orjson.loads(head.first) if head.first.lstrip().startswith("{") else {}
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _lines(head: Head, kind: Kind, record: Callable[[Mapping[str, Any], str, str], Quote | Candle]) -> Recognised:
    first = _object(head)
    column = next((name for name in ("instrument", "symbol") if name in first), None)
    instrument, origin = instrument_of_file(head, in_column=column is not None, joined=False)
    times, zone = _times(head, unique=kind == "candles")
    names = ColumnNames(head.instruments, joined=False)
    keep = head.options.instrument
    moment = "time" if kind == "ticks" else "start_time"

    def read(lines: Iterable[Line]) -> Iterator[Item]:
        parse = times().parse
        for number, line in lines:
            if not line.strip():
                continue
            try:
                item = orjson.loads(line)
                symbol = instrument or names[item[column]]
                if keep is None or symbol == keep:
                    yield number, record(item, symbol, parse(_text(item[moment]), symbol))
            except (KeyError, TypeError, AttributeError) as error:
                yield number, ValueError(f"no {kind[:-1]}: {type(error).__name__} {error}")
            except ValueError as error:
                yield number, error
            except AmbiguousDate as error:
                raise error.at(number) from None

    interval = None if kind == "ticks" else head.options.interval or interval_in(head.name)
    return Recognised(_NAME, _VENDOR, kind, interval, zone, instrument, origin, "trades" in first, read)


def _text(value: object) -> str:
    """A time: a text, or a Unix time as a number."""
    return str(value) if type(value) in (str, int) else ""


def _quote(item: Mapping[str, Any], symbol: str, moment: str) -> Quote:
    bid, ask = decimal(item["bid"]), decimal(item["ask"])
    return Quote(symbol, moment, bid, ask, _optional(item, "mid"), _optional(item, "volume"))


def _candle(item: Mapping[str, Any], symbol: str, moment: str) -> Candle:
    mid, bid, ask = (_ohlc(item, side) for side in _SIDES)
    trades = None if item.get("trades") is None else count(str(item["trades"]))
    complete = item.get("complete") is not False
    return Candle(symbol, moment, mid, bid, ask, _optional(item, "volume"), trades, complete, item.get("interval"))


def _ohlc(item: Mapping[str, Any], side: str) -> Ohlc | None:
    if item.get(f"{side}open") is None:
        return None
    opened, high, low, close = (decimal(item[f"{side}{each}"]) for each in PRICES)
    return opened, high, low, close


def _optional(item: Mapping[str, Any], field: str) -> str | None:
    return None if item.get(field) is None else decimal(item[field])


FORMATS = (
    Format(_NAME, _VENDOR, "ticks", ",".join(_TICKS), _TICKS, lambda head: head.table.has(*_TICKS) and not head.table.has("date"), _ticks),
    Format(_NAME, _VENDOR, "candles", ",".join(_CANDLES), ("time", *PRICES), lambda head: head.table.has("start_time", "open"), _candles),
    Format(
        _NAME,
        _VENDOR,
        "ticks",
        "",
        (),
        lambda head: _object(head).keys() >= set(_TICKS),
        lambda head: _lines(head, "ticks", _quote),
        has_columns=False,
    ),
    Format(
        _NAME,
        _VENDOR,
        "candles",
        "",
        (),
        lambda head: _object(head).keys() >= {"start_time", "open"},
        lambda head: _lines(head, "candles", _candle),
        has_columns=False,
    ),
)
