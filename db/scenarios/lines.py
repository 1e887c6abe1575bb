"""One line of a recording of raw Binance messages: `<receive time, ns> <json>`. Pure.

Stream messages have the combined form `{"stream","data"}`. A snapshot of REST is a bare object with
`lastUpdateId`, `bids` and `asks`; it names no instrument.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from db.decimals import is_decimal

Kind = Literal["diff", "ticker", "snapshot"]
MAX_ID = 2**63 - 1
_LEVEL_FIELDS = 2  # price and quantity
_TIME_DIGITS = 19  # nanoseconds since 1970


class BadLine(ValueError):
    """A line that is no message of a recording; `number` counts from 1."""

    def __init__(self, number: int, problem: str) -> None:
        super().__init__(f"line {number} {problem}")
        self.number = number
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of a recording; `text` is its JSON.

    `instrument` is "" for a snapshot until the whole file is read. `first_id` and `last_id` are
    `U` and `u` of a diff, both `u` of a ticker, both `lastUpdateId` of a snapshot.
    """

    kind: Kind
    time: int  # ns
    instrument: str
    text: bytes
    first_id: int
    last_id: int
    has_previous: bool = False  # a diff with `pu`


def read_line(number: int, line: bytes, instruments: Collection[str] | None = None) -> tuple[int, Entry | None]:
    """The receive time of a line, and its message. None: a stream that no book needs.

    Raises `BadLine`.
    """
    stamp, _, text = line.strip().partition(b" ")
    if not stamp.isdigit() or len(stamp) != _TIME_DIGITS:
        raise BadLine(number, "does not begin with the receive time, 19 digits of nanoseconds")
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadLine(number, f"is not JSON after the time: {error}") from None
    if not isinstance(message, dict):
        raise BadLine(number, "has no JSON object after the time")
    return int(stamp), _entry(number, int(stamp), text, message, instruments)


def _entry(number: int, time: int, text: bytes, message: Mapping[str, Any], instruments: Collection[str] | None) -> Entry | None:
    if "lastUpdateId" in message:
        update_id = _id(number, message, "lastUpdateId")
        _check_levels(number, message, "bids", "asks")
        return Entry("snapshot", time, "", text, update_id, update_id)
    stream, data = message.get("stream"), message.get("data")
    if not isinstance(stream, str) or not isinstance(data, dict):
        raise BadLine(number, 'is neither a stream message {"stream","data"} nor a snapshot with lastUpdateId')
    symbol, _, channel = stream.partition("@")
    instrument = symbol.upper()
    kind = _kind(number, channel)
    if kind is None:
        return None
    if instruments is not None and instrument not in instruments:
        raise BadLine(number, f"has the unknown instrument {instrument}: add it with manage.py instrument add")
    if data.get("s") != instrument:
        raise BadLine(number, f"has another symbol than its stream {stream}")
    if kind == "ticker":
        update_id = _id(number, data, "u")
        return Entry("ticker", time, instrument, text, update_id, update_id)
    first, last = _id(number, data, "U"), _id(number, data, "u")
    if first > last:
        raise BadLine(number, "has U above u")
    _id(number, data, "E")
    _check_levels(number, data, "b", "a")
    if has_previous := "pu" in data:
        _id(number, data, "pu")
    return Entry("diff", time, instrument, text, first, last, has_previous)


def _kind(number: int, channel: str) -> Literal["diff", "ticker"] | None:
    if channel == "bookTicker":
        return "ticker"
    name, _, _ = channel.partition("@")
    if name == "depth":
        return "diff"
    if name.startswith("depth"):
        raise BadLine(number, f"is of the partial stream @{channel}, which has no chain of updates: record @depth@100ms")
    return None


def _id(number: int, values: Mapping[str, Any], field: str) -> int:
    value = values.get(field)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_ID:
        raise BadLine(number, f"needs {field} as a whole number")
    return value


def _check_levels(number: int, values: Mapping[str, Any], *sides: str) -> None:
    for side in sides:
        levels = values.get(side)
        if not isinstance(levels, list):
            raise BadLine(number, f"needs {side} as a list of levels")
        for level in levels:
            if (
                not isinstance(level, list)
                or len(level) != _LEVEL_FIELDS
                or not all(isinstance(each, str) and is_decimal(each) for each in level)
            ):
                raise BadLine(number, f'has a level in {side} that is not ["price","quantity"] in decimal digits')
