"""Candles of OANDA: one reader for its REST API and for recorded files. Pure.

Candles are read, not checked: that is the work of `db.admission`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from db.candles import CandleRow, Ohlc
from db.decimals import is_decimal, middle, plain_decimal
from db.intervals import candle_end
from db.timestamps import format_time, parse_time
from jobs.feeds.oanda.wire import NAME, contract_time

GRANULARITIES = {"1m": "M1", "5m": "M5", "15m": "M15", "1h": "H1", "4h": "H4", "1d": "D"}
SIDES = ("mid", "bid", "ask")


def candle_of(symbol: str, calendar: str, interval: str, candle: Any) -> CandleRow:
    """The candle of an item in an answer of OANDA.

    Exactly the types of the format are taken: prices are strings, `volume` is an integer,
    `complete` is a boolean. Raises `ValueError` for another format.
    """
    try:
        start = parse_time(contract_time(candle["time"]))
        volume, complete = candle["volume"], candle["complete"]
        sides = {side: [candle[side][letter] for letter in "ohlc"] for side in SIDES if side in candle}
    except (KeyError, TypeError) as error:
        raise ValueError(f"no candle: {type(error).__name__} {error}") from None
    if type(volume) is not int:
        raise ValueError("candle whose volume is not an integer")
    if type(complete) is not bool:
        raise ValueError("candle whose `complete` is not a boolean")
    return candle_row(symbol, calendar, interval, start, sides, str(volume), complete=complete)


def candle_row(
    symbol: str, calendar: str, interval: str, start: datetime, sides: Mapping[str, Sequence[str]], volume: str, *, complete: bool = True
) -> CandleRow:
    """The candle of these fields; `sides` has open, high, low, close of mid, bid and ask.

    Mid is exactly halfway between bid and ask if it is missing. The volume of OANDA is the number
    of its quotes. Raises `ValueError` if a price is not a string, or without mid and a side.
    """
    if not all(isinstance(price, str) for prices in sides.values() for price in prices):
        raise ValueError("candle whose prices are not strings")
    bid, ask = (_ohlc(sides[side]) if side in sides else None for side in ("bid", "ask"))
    if "mid" in sides:
        mid = _ohlc(sides["mid"])
    elif bid is None or ask is None:
        raise ValueError("neither mid prices nor both bid and ask")
    else:
        mid = _ohlc([_halfway(*pair) for pair in zip(bid, ask, strict=True)])
    try:
        begins, ends = format_time(start), format_time(candle_end(calendar, interval, start))
    except OverflowError:
        raise ValueError(f"no candle begins at {start.isoformat()}") from None
    quotes = int(volume) if volume.isascii() and volume.isdecimal() else None
    return CandleRow(symbol, interval, begins, ends, mid, bid, ask, volume, quotes, complete, NAME)


def _ohlc(prices: Sequence[str]) -> Ohlc:
    opened, high, low, close = map(plain_decimal, prices)
    return opened, high, low, close


def _halfway(bid: str, ask: str) -> str:
    """The exact mean; if one of the two is no decimal, that one: the admission refuses it."""
    if not is_decimal(bid):
        return bid
    return middle(bid, ask) if is_decimal(ask) else ask
