"""Candles of OANDA: CSV with bid and ask, and JSON as its REST API answers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson

from db.decimals import plain_decimal
from jobs.feeds.files.formats.clock import ContractTimes
from jobs.feeds.files.formats.columns import splitter
from jobs.feeds.files.formats.format import Format, Head, instrument_of_file
from jobs.feeds.files.formats.model import FORMATS_PAGE, Candle, FileRefused, Item, Line, MissingColumns, Recognised
from jobs.feeds.files.formats.names import ColumnNames, instrument_name, interval_in
from jobs.feeds.files.formats.readers import Shape, records
from jobs.feeds.oanda.candles import GRANULARITIES, SIDES, OandaCandle, oanda_candle, read_candle
from jobs.feeds.oanda.wire import contract_time

_NAME = _VENDOR = "oanda"
_INTERVALS = {granularity: interval for interval, granularity in GRANULARITIES.items()}


def _is_json(head: Head) -> bool:
    """True for one JSON document, not for a line of NDJSON with other fields than candles."""
    text = head.first.lstrip()
    if not text.startswith(("{", "[")):
        return False
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return True
    return not isinstance(found, dict) or bool(found.keys() & {"candles", "latestCandles"}) or len(head.lines) == 1


def _csv(head: Head) -> Recognised:
    table = head.table
    there = [side for side in SIDES if table.has(*(f"{side}_{letter}" for letter in "ohlc"))]
    if missing := [
        name for name in ("volume", "bid_o", "bid_h", "bid_l", "bid_c", "ask_o", "ask_h", "ask_l", "ask_c") if not table.has(name)
    ]:
        raise MissingColumns(head.lines[0], _NAME, missing)
    places = {side: [table.place(f"{side}_{letter}") or 0 for letter in "ohlc"] for side in there}
    fields = table.places({field: field for field in ("time", "instrument")})
    volume = table.place("volume") or 0
    instrument, origin = instrument_of_file(head, in_column="instrument" in fields, joined=False)
    names = ColumnNames(head.instruments, joined=False)
    shape = Shape(splitter(table.delimiter), fields, ContractTimes, True, table.width, instrument, names, head.options.instrument)

    def record(line: list[str], symbol: str, start: str) -> Candle:
        sides = {side: [line[place].strip() for place in where] for side, where in places.items()}
        return _candle(symbol, None, oanda_candle(start, sides, plain_decimal(line[volume].strip())))

    interval = head.options.interval or interval_in(head.name)
    return Recognised(
        _NAME, _VENDOR, "candles", interval, "UTC", instrument, origin, True, lambda lines: records(shape, lines, record), header=True
    )


def _json(head: Head) -> Recognised:
    keep = head.options.instrument
    return Recognised(
        _NAME, _VENDOR, "candles", None, "UTC", None, "the file's content", True, lambda lines: _answered(lines, keep), "candle"
    )


def _answered(lines: Iterable[Line], keep: str | None) -> Iterator[Item]:
    for place, item in enumerate(_answer("".join(line for _, line in lines)), start=1):
        try:
            candle = _item(item)
        except ValueError as error:
            yield place, error
        else:
            if keep is None or candle.instrument == keep:
                yield place, candle


def _answer(text: str) -> Sequence[tuple[Any, Any, Any]]:
    """(instrument, granularity, candle) for every candle in an answer of OANDA."""
    try:
        body = orjson.loads(text)
        answers = body.get("latestCandles", [body])
        return [(answer["instrument"], answer["granularity"], candle) for answer in answers for candle in answer["candles"]]
    except orjson.JSONDecodeError as error:
        raise FileRefused(f"damaged: {error}") from error
    except (KeyError, TypeError, AttributeError):
        raise FileRefused(f"JSON, but no answer of OANDA's with candles; formats: {FORMATS_PAGE}") from None


def _item(item: tuple[Any, Any, Any]) -> Candle:
    name, granularity, candle = item
    if not isinstance(name, str):
        raise ValueError(f"{str(name)[:40]!r} is not the name of an instrument")
    if not isinstance(granularity, str) or granularity not in _INTERVALS:
        raise ValueError(f"no interval of ours is {str(granularity)[:40]!r}")
    if isinstance(candle, dict) and candle.get("complete") is False:
        # Its prices may be missing.
        start = contract_time(candle.get("time"))
        return Candle(instrument_name(name), start, None, None, None, complete=False, interval=_INTERVALS[granularity])
    return _candle(instrument_name(name), _INTERVALS[granularity], read_candle(candle))


def _candle(instrument: str, interval: str | None, read: OandaCandle) -> Candle:
    return Candle(instrument, read.start, read.mid, read.bid, read.ask, read.volume, read.quotes, read.complete, interval)


FORMATS = (
    Format(
        _NAME, _VENDOR, "candles", "time,volume,bid_o,…,ask_c", ("time", "volume"), lambda head: head.table.has("time", "bid_o"), _csv,
        has_columns=False,
    ),
    Format(_NAME, _VENDOR, "candles", "", (), _is_json, _json, has_columns=False),
)  # fmt: skip
