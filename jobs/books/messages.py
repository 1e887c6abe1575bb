"""Depth messages of Binance: diffs, snapshots and book tickers from bytes or JSON. Pure.

Each reader raises ValueError if the message is of another kind or has a level that is no pair of
decimals.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import Any, NamedTuple

import orjson

from db.decimals import DECIMAL, is_decimal
from jobs.books.book import MAX_DIGITS, Level, Levels, Window, check_digits

_DIGITS = b"0123456789"
_USUAL_LEVEL = b'[".","."]'  # without its digits
# Beginnings and ends of the sides, without their levels.
_USUAL_DIFF = (b'"b":[', b'"b":[],"a":[]}}')
_USUAL_SNAPSHOT = (b'"bids":[', b'"bids":[],"asks":[]}')
_FEW_DIGITS = 24  # characters: less than the digits that a quantity may have
_is_price = re.compile(rf"(?=[0.]*[1-9]){DECIMAL}", re.ASCII).fullmatch


class Diff(NamedTuple):
    """Levels with new absolute quantities; a quantity of zeros removes.

    `first_id` and `last_id` are `U` and `u`. `previous_id` is `pu`, None at spot. `event_ms` is the
    exchange's event time in Unix milliseconds.
    """

    first_id: int
    last_id: int
    previous_id: int | None
    event_ms: int
    bids: Levels
    asks: Levels


class Snapshot(NamedTuple):
    """The best levels a side at `last_id`.

    `limit` of them were requested; None if that is unknown, as in a recording.
    """

    last_id: int
    bids: Levels
    asks: Levels
    limit: int | None

    @property
    def window(self) -> Window:
        """Lowest bid and highest ask; None for a side with fewer levels than requested."""
        limit = self.limit or 1
        low = min(self.bids, key=_price)[0] if len(self.bids) >= limit else None
        high = max(self.asks, key=_price)[0] if len(self.asks) >= limit else None
        return low, high


class Ticker(NamedTuple):
    """Best bid and best ask as `[price, quantity]`; `update_id` is the book's id."""

    update_id: int
    bid: Level
    ask: Level


def read_diff(message: bytes) -> Diff:
    """Read a message of the stream `@depth`, with or without the wrapper of combined streams."""
    try:
        data = orjson.loads(message)
        data = data.get("data", data)
        diff = Diff(data["U"], data["u"], data.get("pu"), data["E"], data["b"], data["a"])
        _check_ids(*diff[:4] if "pu" in data else (diff.first_id, diff.last_id, diff.event_ms))
        if type(diff.bids) is not list or type(diff.asks) is not list:
            raise TypeError("a side is no list")
        if not _has_usual_levels(message, len(diff.bids) + len(diff.asks), _USUAL_DIFF):
            _check_levels(diff.bids, diff.asks)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"no diff: {error!r}") from error
    return diff


def read_snapshot(message: bytes, limit: int | None) -> Snapshot:
    """Read the answer of `/depth`; `limit` levels a side were requested, None if unknown."""
    try:
        data = orjson.loads(message)
        snapshot = Snapshot(data["lastUpdateId"], data["bids"], data["asks"], limit)
        _check_ids(snapshot.last_id)
        if not _is_usual_snapshot(message, snapshot):
            _check_levels(snapshot.bids, snapshot.asks)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"no snapshot: {error!r}") from error
    return snapshot


def read_ticker(message: bytes) -> Ticker:
    """Read a message of the stream `@bookTicker`, with or without the wrapper."""
    try:
        data = orjson.loads(message)
        data = data.get("data", data)
        ticker = Ticker(data["u"], [data["b"], data["B"]], [data["a"], data["A"]])
        _check_ids(ticker.update_id)
        if not all(map(is_decimal, ticker.bid + ticker.ask)):
            raise ValueError("a price or a quantity is no decimal")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"no book ticker: {error!r}") from error
    return ticker


def _is_usual_snapshot(message: bytes, snapshot: Snapshot) -> bool:
    """True if all levels are usual, of few digits, and have a price above 0."""
    bids, asks = snapshot.bids, snapshot.asks
    if type(bids) is not list or type(asks) is not list or not _has_usual_levels(message, len(bids) + len(asks), _USUAL_SNAPSHOT):
        return False
    prices = [level[0] for level in chain(bids, asks)]
    quantities = [level[1] for level in chain(bids, asks)]
    return max(map(len, prices)) <= MAX_DIGITS and max(map(len, quantities)) <= _FEW_DIGITS and all(map(float, prices))


def _has_usual_levels(message: bytes, levels: int, usual: tuple[bytes, bytes]) -> bool:
    """True if all levels are `["digits.digits","digits.digits"]`, checked in three fast steps."""
    begin, without_levels = usual
    end = message.rstrip()[message.find(begin) :].translate(None, _DIGITS)
    # One comma less than levels on each of the two sides.
    return end.count(_USUAL_LEVEL) == levels and len(end) == levels * (len(_USUAL_LEVEL) + 1) - 2 + len(without_levels)


def _price(level: Level) -> float:
    return float(level[0])


def _check_ids(*ids: Any) -> None:
    for each in ids:
        if type(each) is not int or each < 0:
            raise ValueError(f"no id: {each!r:.40}")


def _check_levels(*sides: Levels) -> None:
    for levels in sides:
        if type(levels) is not list:
            raise TypeError("a side is no list")
        for level in levels:
            price, quantity = level
            if type(level) is not list or not _is_price(price) or not is_decimal(quantity):
                raise ValueError(f"no level: {price!r:.40} {quantity!r:.40}")
            check_digits(price)
