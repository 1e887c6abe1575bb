"""The market of the OANDA stand-in: recorded quotes and candles, and candles made from them."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from db.intervals import INTERVALS, candle_end, candle_start
from db.timestamps import parse_time

INTERVAL_OF = {"M1": "1m", "M5": "5m", "M15": "15m", "H1": "1h", "H4": "4h", "D": "1d"}
SIDES = {"M": "mid", "B": "bid", "A": "ask"}
Sides = dict[str, tuple[str, str, str, str]]  # mid, bid, ask -> open, high, low, close


class Quote(NamedTuple):
    """One price of a recording."""

    time: datetime
    instrument: str
    bid: str
    ask: str


@dataclass(frozen=True, slots=True)
class Candle:
    start: datetime
    end: datetime
    volume: int
    sides: Sides

    def as_json(self, components: str, now: datetime) -> dict[str, Any]:
        """Return the candle in the form of the API, complete if it has ended at `now`.

        `components` are some of M, B, A.
        """
        sides = {SIDES[each]: dict(zip("ohlc", self.sides[SIDES[each]], strict=True)) for each in components}
        return {"complete": self.end <= now, "volume": self.volume, "time": api_time(self.start), **sides}


def api_time(moment: datetime) -> str:
    """Return the time as RFC 3339 with nine digits, like the real service."""
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}000Z"


def price_line(quote: Quote) -> dict[str, Any]:
    """Return a PRICE message of the stream, with two offers per side, the best first."""
    return {
        "type": "PRICE",
        "time": api_time(quote.time),
        "bids": _offers(quote.bid, -2),
        "asks": _offers(quote.ask, 2),
        "closeoutBid": _moved(quote.bid, -4),
        "closeoutAsk": _moved(quote.ask, 4),
        "status": "tradeable",
        "tradeable": True,
        "instrument": quote.instrument,
    }


@dataclass(slots=True)
class Market:
    """All recordings.

    `quotes` are of all instruments, by time. `given` maps (instrument, granularity) to the candles
    of a file.
    """

    quotes: list[Quote] = field(default_factory=list)
    given: dict[tuple[str, str], list[Candle]] = field(default_factory=dict)
    _made: dict[tuple[str, str], list[Candle]] = field(default_factory=dict)

    def load_quotes(self, files: Iterable[tuple[str, Path]]) -> None:
        """Read `time,bid,ask` recordings, one per instrument."""
        for instrument, file in files:
            self.quotes += [Quote(parse_time(row["time"]), instrument, row["bid"], row["ask"]) for row in _rows(file)]
        self.quotes.sort(key=attrgetter("time"))

    def load_candles(self, files: Iterable[tuple[str, str, Path]]) -> None:
        """Read `time,volume,mid_o…ask_c` recordings, one per instrument and granularity."""
        for instrument, granularity, file in files:
            self.given[instrument, granularity] = [_recorded(row, INTERVAL_OF[granularity]) for row in _rows(file)]

    def instruments(self) -> set[str]:
        return {quote.instrument for quote in self.quotes} | {instrument for instrument, _ in self.given}

    def candles(self, instrument: str, granularity: str, now: datetime) -> list[Candle]:
        """Return every candle that has begun at `now`.

        If they are made of quotes, the last one covers the quotes until `now`.
        """
        key = instrument, granularity
        if key not in self._made:
            self._made[key] = self.given.get(key) or self._from_quotes(*key) or self._from_finer(*key)
        begun = [candle for candle in self._made[key] if candle.start <= now]
        if begun and begun[-1].end > now and not self._is_from_files(*key):
            so_far = [each for each in self.quotes if each.instrument == instrument and begun[-1].start <= each.time <= now]
            begun[-1:] = list(_made_of_quotes(so_far, INTERVAL_OF[granularity]))
        return begun

    def _is_from_files(self, instrument: str, granularity: str) -> bool:
        return (instrument, granularity) in self.given or not any(quote.instrument == instrument for quote in self.quotes)

    def _from_quotes(self, instrument: str, granularity: str) -> list[Candle]:
        return list(_made_of_quotes([each for each in self.quotes if each.instrument == instrument], INTERVAL_OF[granularity]))

    def _from_finer(self, instrument: str, granularity: str) -> list[Candle]:
        interval = INTERVAL_OF[granularity]
        finer = [name for name in INTERVAL_OF if INTERVALS[INTERVAL_OF[name]] < INTERVALS[interval] and (instrument, name) in self.given]
        return list(_made_of_candles(self.given[instrument, finer[-1]], interval)) if finer else []


def _made_of_quotes(quotes: Sequence[Quote], interval: str) -> Iterator[Candle]:
    for start, group in groupby(quotes, key=lambda quote: candle_start("fx", interval, quote.time)):
        inside = list(group)
        bids, asks = [quote.bid for quote in inside], [quote.ask for quote in inside]
        sides = {"bid": _ohlc(bids), "ask": _ohlc(asks), "mid": _ohlc([_mid(quote) for quote in inside])}
        yield Candle(start, candle_end("fx", interval, start), len(inside), sides)


def _made_of_candles(candles: Sequence[Candle], interval: str) -> Iterator[Candle]:
    for start, group in groupby(candles, key=lambda candle: candle_start("fx", interval, candle.start)):
        inside = list(group)
        sides: Sides = {}
        for side in SIDES.values():
            each = [candle.sides[side] for candle in inside]
            high, low = max((prices[1] for prices in each), key=Decimal), min((prices[2] for prices in each), key=Decimal)
            sides[side] = (each[0][0], high, low, each[-1][3])
        yield Candle(start, candle_end("fx", interval, start), sum(candle.volume for candle in inside), sides)


def _ohlc(prices: Sequence[str]) -> tuple[str, str, str, str]:
    return prices[0], max(prices, key=Decimal), min(prices, key=Decimal), prices[-1]


def _mid(quote: Quote) -> str:
    """Return the mid, rounded to the digits of the bid like OANDA."""
    bid = Decimal(quote.bid)
    return format(((bid + Decimal(quote.ask)) / 2).quantize(bid, ROUND_HALF_UP), "f")


def _offers(best: str, step: int) -> list[dict[str, Any]]:
    return [{"price": best, "liquidity": 1_000_000}, {"price": _moved(best, step), "liquidity": 2_000_000}]


def unsorted_offers(offers: list[dict[str, Any]], step: int) -> list[dict[str, Any]]:
    """The offers in no order, and a worse one: the best is in the middle."""
    best, second = offers
    return [second, best, {"price": _moved(best["price"], step), "liquidity": 5_000_000}]


def _moved(price: str, units: int) -> str:
    exact = Decimal(price)
    return format(exact + Decimal(units).scaleb(int(exact.as_tuple().exponent)), "f")


def _recorded(row: dict[str, str], interval: str) -> Candle:
    start = parse_time(row["time"])
    sides: Sides = {side: (row[f"{side}_o"], row[f"{side}_h"], row[f"{side}_l"], row[f"{side}_c"]) for side in SIDES.values()}
    return Candle(start, candle_end("fx", interval, start), int(row["volume"]), sides)


def _rows(file: Path) -> list[dict[str, str]]:
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt", encoding="utf-8") as text:
        return list(csv.DictReader(text))
