"""Recordings as rows for the store, recognised by their first line, plain or gzipped:

- quotes, CSV `time,bid,ask`: rows of `prices`, numbered by their line;
- OANDA's candles, CSV `time,volume,mid_o…mid_c,bid_o…bid_c,ask_o…ask_c`, the interval (`_H1`) in
  the file's name;
- OANDA's candles, JSON as its REST API answers, of one instrument or several (`latestCandles`);
- Binance's raw messages, `<local receive time in ns> <json>` per line: trades are read, other
  messages are skipped.

Digits of prices stay as they are. CSV is read and checked as in a replay; see
`jobs.feeds.recordings`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import orjson

from db.candles import CandleRow, Ohlc
from db.decimals import is_decimal, middle
from db.intervals import candle_end, candle_start
from db.messages import Trade
from db.prices import PriceRow
from db.timestamps import parse_time
from jobs.feeds.base import BadInput, as_source_error, checked_ohlc, plausible_time
from jobs.feeds.binance.messages import trade_of
from jobs.feeds.oanda.history import GRANULARITIES
from jobs.feeds.oanda.wire import NAME
from jobs.feeds.recordings import check, detect, instrument_of, text_lines

Record: TypeAlias = PriceRow | Trade | CandleRow
# Number and raw item -> its record; None if it has none. `ValueError` names a fault of the item.
_Parse: TypeAlias = Callable[[int, Any], Record | None]

_INTERVALS = {granularity: interval for interval, granularity in GRANULARITIES.items()}
_RAW_LINE = re.compile(r"\d{10,20} [{\[]", re.ASCII)
_NAME_ENDS = re.compile(r"_(M1|M5|M15|H1|H4|D)(?![A-Z0-9])")
_SIDES = ("mid", "bid", "ask")
_LARGEST = 2**63 - 1  # the largest bigint


@dataclass(frozen=True, slots=True)
class Recording:
    """A file in its present state; `digest` distinguishes it from another file of the same name."""

    file: Path
    digest: str
    lines: int

    @property
    def name(self) -> str:
        """The file's name in the store: equal for packed and unpacked files, without characters to
        quote.
        """
        return "file:" + re.sub(r"[^A-Za-z0-9_.-]", "_", self.file.name.removesuffix(".gz"))


def inspect(file: Path) -> Recording:
    """Read the file once. Raises `SourceError` if it is missing or damaged."""
    lines = sum(1 for _ in text_lines(file))
    try:
        with file.open("rb") as stream:
            return Recording(file, hashlib.file_digest(stream, "sha256").hexdigest()[:16], lines)
    except OSError as error:
        raise as_source_error(error) from error


def read(
    recording: Recording, kinds: Mapping[str, str], on_bad: Callable[[int, str], None], *, after: int = 0
) -> Iterator[tuple[int, Record]]:
    """Every good record beyond place `after`, with its place: the number of its line or JSON
    candle, from 1.

    `kinds` maps every existing instrument to its kind. `on_bad` is called with place and fault of
    every bad record, which is skipped. Raises `SourceError` if the file is damaged, of unknown
    format, or of no known instrument.
    """
    lines = text_lines(recording.file)
    first = next(lines, "")
    items: Iterator[tuple[int, Any]]
    if _RAW_LINE.match(first):
        parse, items = _trades(kinds), enumerate(chain([first], lines), 1)
    elif first.lstrip().startswith(("{", "[")):
        answer = _candle_answer(recording.file, first + "".join(lines))
        parse, items = _answered_candles(kinds), enumerate(answer, 1)
    else:
        parse, items = _csv(recording, first, kinds), enumerate(lines, 2)
    for place, item in items:
        if place <= after:
            continue
        try:
            record = parse(place, item)
        except ValueError as error:
            on_bad(place, str(error))
        else:
            if record is not None:
                yield place, record


def _csv(recording: Recording, header: str, kinds: Mapping[str, str]) -> _Parse:
    file = recording.file
    layout = detect(file, header)
    symbol = None if layout.instrument is not None else instrument_of(file, kinds)
    columns = {name.strip(): index for index, name in enumerate(header.split(","))}
    candles = _csv_candle(file, columns, kinds) if "bid_o" in columns else None

    def parse(place: int, line: str) -> Record | None:
        if not line.strip():
            return None
        fields = line.strip().split(",")
        row = check(fields, layout, symbol, kinds)
        if candles is not None:
            return candles(row.instrument, row.time, fields)
        moment = plausible_time(row.time)
        mid = row.mid or middle(row.bid, row.ask)
        return PriceRow(row.instrument, moment, moment, row.bid, row.ask, mid, None, recording.name, recording.name, place)

    return parse


def _csv_candle(file: Path, columns: Mapping[str, int], kinds: Mapping[str, str]) -> Callable[[str, datetime, list[str]], CandleRow]:
    said = _NAME_ENDS.search(file.name.split(".")[0].upper())
    if said is None:
        raise as_source_error(BadInput(f"recording {file} holds candles, but its name does not say of what interval (EUR_USD_H1.csv)"))
    there = [side for side in _SIDES if all(f"{side}_{letter}" in columns for letter in "ohlc")]
    if "volume" not in columns or not {"bid", "ask"} <= set(there):
        raise as_source_error(BadInput(f"recording {file} is of no known format: its candles lack columns"))
    places = {side: [columns[f"{side}_{letter}"] for letter in "ohlc"] for side in there}

    def candle(symbol: str, start: datetime, fields: list[str]) -> CandleRow:
        sides = {side: checked_ohlc([fields[place] for place in where]) for side, where in places.items()}
        return _candle(symbol, kinds[symbol], _INTERVALS[said[1]], start, sides, fields[columns["volume"]])

    return candle


def _candle_answer(file: Path, text: str) -> list[tuple[str, str, Any]]:
    """(instrument, granularity, candle) for every candle in an answer of OANDA."""
    try:
        body = orjson.loads(text)
        answers = body.get("latestCandles", [body])
        return [(answer["instrument"], answer["granularity"], candle) for answer in answers for candle in answer["candles"]]
    except orjson.JSONDecodeError as error:
        raise as_source_error(BadInput(f"recording {file} is damaged: {error}")) from error
    except (KeyError, TypeError, AttributeError):
        raise as_source_error(BadInput(f"recording {file} is JSON, but no answer of OANDA's with candles")) from None


def _answered_candles(kinds: Mapping[str, str]) -> _Parse:
    def parse(place: int, item: tuple[str, str, Any]) -> CandleRow | None:
        symbol, granularity, candle = item
        try:
            if symbol not in kinds:
                raise ValueError(f"unknown instrument {symbol!r}")
            if granularity not in _INTERVALS:
                raise ValueError(f"no interval of ours is {granularity!r}")
            if not candle["complete"]:
                return None
            sides = {side: checked_ohlc([candle[side][letter] for letter in "ohlc"]) for side in _SIDES if side in candle}
            start = parse_time(candle["time"])  # nanoseconds are cut off
            return _candle(symbol, kinds[symbol], _INTERVALS[granularity], start, sides, str(candle["volume"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no candle: {type(error).__name__} {error}") from None

    return parse


def _candle(symbol: str, kind: str, interval: str, start: datetime, sides: Mapping[str, Ohlc], volume: str) -> CandleRow:
    begins = plausible_time(start)
    if start != candle_start(kind, interval, start):
        raise ValueError(f"no {interval} candle of {symbol} begins at {begins}")
    bid, ask = sides.get("bid"), sides.get("ask")
    if (mid := sides.get("mid")) is None:
        if bid is None or ask is None:
            raise ValueError("neither mid prices nor both bid and ask")
        mid = (middle(bid[0], ask[0]), middle(bid[1], ask[1]), middle(bid[2], ask[2]), middle(bid[3], ask[3]))
    if not is_decimal(volume):
        raise ValueError(f"{volume!r} is not a volume")
    quotes = int(volume) if volume.isdigit() and int(volume) <= _LARGEST else None  # OANDA's volume is the number of its quotes
    ends = plausible_time(candle_end(kind, interval, start))
    return CandleRow(symbol, interval, begins, ends, mid, bid, ask, volume, quotes, complete=True, source=NAME)


def _trades(kinds: Mapping[str, str]) -> _Parse:
    def parse(place: int, line: str) -> Trade | None:
        if '"trade"' not in line:
            return None
        try:
            message = orjson.loads(line.partition(" ")[2])
            data = message.get("data", message)
            if data.get("e") != "trade":
                return None
            if data["s"] not in kinds:
                raise ValueError(f"unknown instrument {data['s']!r}")
            return trade_of(data["s"], data["t"], data["p"], data["q"], data["T"], data["m"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no trade: {type(error).__name__} {error}") from None

    return parse
