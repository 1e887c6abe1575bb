"""Recordings as rows for the store, recognised by their first line:

- quotes, CSV `time,bid,ask`: rows of `prices`, equal ones numbered by `jobs.feeds.occurrences`;
- OANDA's candles, CSV `time,volume,mid_o…mid_c,bid_o…bid_c,ask_o…ask_c`, the interval (`_H1`) in
  the file's name;
- OANDA's candles, JSON as its REST API answers, of one instrument or several (`latestCandles`);
- Binance's raw messages, `<local receive time in ns> <json>` per line: trades are read, other
  messages are skipped.

Digits of prices stay as they are. CSV is read as in a replay (`jobs.feeds.files.recordings`),
candles and trades as those of the live sources. `db.admission` checks every record.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import orjson

from db.admission import NotAdmitted, Window, Windows, check_candle, check_quote, check_trade, open_windows
from db.candles import CandleRow
from db.decimals import plain_decimal
from db.messages import Trade
from db.prices import PriceRow
from db.timestamps import format_time
from jobs.feeds.base import BadInput, as_source_error
from jobs.feeds.binance.messages import NAME as BINANCE
from jobs.feeds.binance.messages import trade_in
from jobs.feeds.files.recordings import CsvRecording, instrument_name, numbered_lines
from jobs.feeds.files.text_files import Undamaged, text_lines
from jobs.feeds.oanda.candles import GRANULARITIES, SIDES, candle_of, oanda_candle, oanda_row
from jobs.feeds.occurrences import Origin, numbered, scattered

Record: TypeAlias = PriceRow | Trade | CandleRow
OnBad: TypeAlias = Callable[[str, ValueError], None]
# Place and raw item -> its record; None if it has none. `ValueError` names a fault of the item.
_Parse: TypeAlias = Callable[[int, Any], Record | None]

_INTERVALS = {granularity: interval for interval, granularity in GRANULARITIES.items()}
_RAW_LINE = re.compile(r"\d{10,20} [{\[]", re.ASCII)
_NAME_ENDS = re.compile(r"_(M1|M5|M15|H1|H4|D)(?![A-Z0-9])")


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


@dataclass(frozen=True, slots=True)
class _Content:
    """The items of a file with their places, and the function that reads one.

    `unit` names an item. `quotes` is True for quotes, whose equal ones are numbered.
    """

    items: Iterator[tuple[int, Any]]
    parse: _Parse
    unit: str = "line"
    quotes: bool = False


def inspect(file: Path) -> Recording:
    """Read the file once; of a damaged one, the lines before the damage count.

    Raises `SourceError` if it is missing.
    """
    try:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    except OSError as error:
        raise as_source_error(error) from error
    return Recording(file, digest, sum(1 for _ in Undamaged(enumerate(text_lines(file)))))


def read(
    recording: Recording, calendars: Mapping[str, str], on_bad: OnBad, *, now: datetime, after: int = 0
) -> Iterator[tuple[int, Record]]:
    """Every admitted record beyond place `after`, with its place: the number of its line or JSON
    candle, from 1.

    `calendars` maps every existing instrument to its calendar; `now` is the clock's reading.
    `on_bad` is called with place and fault of every other record. Raises `SourceError` if the
    file is of unknown format or of no known instrument; after the last whole line if it is damaged.
    """
    content = _open(recording, open_windows("recorded", calendars, now), open_windows("recorded", calendars, now, source=BINANCE), now)

    def admitted() -> Iterator[tuple[int, Any]]:
        for place, item in content.items:
            # All quotes are read: the first time decides how times are written.
            if place <= after and not content.quotes:
                continue
            try:
                record = content.parse(place, item)
            except ValueError as error:
                if place > after:
                    on_bad(f"{content.unit} {place}", error)
            else:
                if record is not None:
                    yield place, record

    if not content.quotes:
        yield from admitted()
        return
    apart = scattered(lambda: _origins(recording, calendars))
    quotes = Undamaged(admitted())
    yield from (found for found in numbered(quotes, apart, recording.lines) if found[0] > after)
    quotes.raise_damage()


def _open(recording: Recording, windows: Windows, windows_of_binance: Windows, now: datetime) -> _Content:
    first, lines = numbered_lines(recording.file)
    if _RAW_LINE.match(first[1]):
        return _Content(chain([first], lines), _trades(windows_of_binance))
    if first[1].lstrip().startswith(("{", "[")):
        answer = _candle_answer(recording.file, first[1] + "".join(line for _, line in lines))
        return _Content(enumerate(answer, 1), _answered_candles(windows, format_time(now)), unit="candle")
    table = CsvRecording(recording.file, first[1], windows)
    if "bid_o" in table.columns:
        return _Content(lines, _csv_candles(recording.file, table, windows, format_time(now)))
    return _Content(lines, _csv_quotes(recording, table, windows), quotes=True)


def _origins(recording: Recording, calendars: Mapping[str, str]) -> Iterator[Origin]:
    """Instrument and time of every line that has them."""
    first, lines = numbered_lines(recording.file)
    table = CsvRecording(recording.file, first[1], calendars)
    for _, line in Undamaged(lines):
        try:
            yield table.origin(table.fields(line))
        except ValueError:
            continue


def _csv_quotes(recording: Recording, table: CsvRecording, windows: Windows) -> _Parse:
    name = recording.name

    def parse(place: int, line: str) -> PriceRow | None:
        if not line.strip():
            return None
        quote = table.quote(line)
        window, moment = windows[quote.instrument], format_time(quote.time)
        row = PriceRow(quote.instrument, moment, moment, quote.bid, quote.ask, quote.mid, None, name, name, place)
        check_quote(row, window)
        return row

    return parse


def _csv_candles(file: Path, table: CsvRecording, windows: Windows, now: str) -> _Parse:
    named = _NAME_ENDS.search(instrument_name(file.name.split(".")[0]))
    if named is None:
        raise as_source_error(BadInput(f"recording {file} holds candles, but its name does not say of what interval (EUR_USD_H1.csv)"))
    there = [side for side in SIDES if all(f"{side}_{letter}" in table.columns for letter in "ohlc")]
    if "volume" not in table.columns or not {"bid", "ask"} <= set(there):
        raise as_source_error(BadInput(f"recording {file} is of no known format: its candles lack columns"))
    places = {side: [table.columns[f"{side}_{letter}"] for letter in "ohlc"] for side in there}

    def parse(place: int, line: str) -> CandleRow | None:
        if not line.strip():
            return None
        fields = table.fields(line)
        symbol, start = table.origin(fields)
        sides = {side: [fields[place] for place in where] for side, where in places.items()}
        volume = plain_decimal(fields[table.columns["volume"]])
        window = windows[symbol]
        return _ended(oanda_row(symbol, window.market, _INTERVALS[named[1]], oanda_candle(format_time(start), sides, volume)), window, now)

    return parse


def _candle_answer(file: Path, text: str) -> Sequence[tuple[Any, Any, Any]]:
    """(instrument, granularity, candle) for every candle in an answer of OANDA."""
    try:
        body = orjson.loads(text)
        answers = body.get("latestCandles", [body])
        return [(answer["instrument"], answer["granularity"], candle) for answer in answers for candle in answer["candles"]]
    except orjson.JSONDecodeError as error:
        raise as_source_error(BadInput(f"recording {file} is damaged: {error}")) from error
    except (KeyError, TypeError, AttributeError):
        raise as_source_error(BadInput(f"recording {file} is JSON, but no answer of OANDA's with candles")) from None


def _answered_candles(windows: Windows, now: str) -> _Parse:
    def parse(place: int, item: tuple[Any, Any, Any]) -> CandleRow:
        name, granularity, candle = item
        if not isinstance(name, str):
            raise ValueError(f"{str(name)[:40]!r} is not the name of an instrument")
        if not isinstance(granularity, str) or granularity not in _INTERVALS:
            raise ValueError(f"no interval of ours is {str(granularity)[:40]!r}")
        symbol = instrument_name(name)
        window = windows[symbol]
        if isinstance(candle, dict) and candle.get("complete") is False:
            raise NotAdmitted(f"{_INTERVALS[granularity]} of {symbol}, {str(candle.get('time'))[:40]}", "not_ended")
        return _ended(candle_of(symbol, window.market, _INTERVALS[granularity], candle), window, now)

    return parse


def _ended(candle: CandleRow, window: Window, now: str) -> CandleRow:
    """The candle if it is admitted; the refusal of one that has not ended names it."""
    try:
        check_candle(candle, window, now)
    except NotAdmitted as error:
        if error.kind == "not_ended":
            raise NotAdmitted(f"{candle.interval} of {candle.symbol}, {candle.start_time}", error.kind) from None
        raise
    return candle


def _trades(windows: Windows) -> _Parse:
    def parse(place: int, line: str) -> Trade | None:
        if '"trade"' not in line:
            return None
        try:
            message = orjson.loads(line.partition(" ")[2])
            data = message.get("data", message)
            if data.get("e") != "trade":
                return None
            trade = trade_in(data)
            check_trade(trade, windows[trade.symbol])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no trade: {type(error).__name__} {error}") from None
        return trade

    return parse
