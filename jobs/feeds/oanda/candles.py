"""Candles of OANDA: one reader for its REST API and for recorded files. Pure.

Candles are read, not checked: that is the work of `db.admission`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from db.candles import CandleRow, Ohlc
from db.decimals import plain_decimal
from jobs.feeds.candle_rows import candle_row
from jobs.feeds.oanda.wire import NAME, contract_time

GRANULARITIES = {"1m": "M1", "5m": "M5", "15m": "M15", "1h": "H1", "4h": "H4", "1d": "D"}
SIDES = ("mid", "bid", "ask")


@dataclass(frozen=True, slots=True)
class OandaCandle:
    """One candle as OANDA writes it; `start` is in contract form.

    The volume of OANDA is the number of its quotes, which is None if it is no integer.
    """

    start: str
    mid: Ohlc | None
    bid: Ohlc | None
    ask: Ohlc | None
    volume: str
    quotes: int | None
    complete: bool = True


def candle_of(symbol: str, calendar: str, interval: str, candle: Any) -> CandleRow:
    """The candle of an item in an answer of OANDA. Raises `ValueError` for another format."""
    return oanda_row(symbol, calendar, interval, read_candle(candle))


def oanda_row(symbol: str, calendar: str, interval: str, candle: OandaCandle) -> CandleRow:
    """The candle as a row of the store."""
    return candle_row(
        symbol,
        calendar,
        interval,
        candle.start,
        candle.mid,
        candle.bid,
        candle.ask,
        volume=candle.volume,
        trades=candle.quotes,
        complete=candle.complete,
        source=NAME,
    )


def read_candle(candle: Any) -> OandaCandle:
    """Read an item in an answer of OANDA.

    Exactly the types of the format are taken: prices are strings, `volume` is an integer,
    `complete` is a boolean. Raises `ValueError` for another format.
    """
    try:
        start = contract_time(candle["time"])
        volume, complete = candle["volume"], candle["complete"]
        sides = {side: [candle[side][letter] for letter in "ohlc"] for side in SIDES if side in candle}
    except (KeyError, TypeError) as error:
        raise ValueError(f"no candle: {type(error).__name__} {error}") from None
    if type(volume) is not int:
        raise ValueError("candle whose volume is not an integer")
    if type(complete) is not bool:
        raise ValueError("candle whose `complete` is not a boolean")
    return oanda_candle(start, sides, str(volume), complete=complete)


def oanda_candle(start: str, sides: Mapping[str, Sequence[str]], volume: str, *, complete: bool = True) -> OandaCandle:
    """The candle of these fields; `sides` has open, high, low, close of mid, bid and ask.

    Raises `ValueError` if a price is not a string, or without mid and a side.
    """
    if not all(isinstance(price, str) for prices in sides.values() for price in prices):
        raise ValueError("candle whose prices are not strings")
    mid, bid, ask = (_ohlc(sides[side]) if side in sides else None for side in SIDES)
    if mid is None and (bid is None or ask is None):
        raise ValueError("neither mid prices nor both bid and ask")
    quotes = int(volume) if volume.isascii() and volume.isdecimal() else None
    return OandaCandle(start, mid, bid, ask, volume, quotes, complete)


def _ohlc(prices: Sequence[str]) -> Ohlc:
    opened, high, low, close = map(plain_decimal, prices)
    return opened, high, low, close
