"""Candles of 1m from aggregate trades of Binance. Pure.

One aggregate stands for several trades, whose ids it spans. The minute of the first and of the last
line is whole only if the day or month in the file's name contains it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import Context, Decimal

from db.admission import check_price
from jobs.feeds.files.formats.model import Candle, Item, Line, PartOfMinute
from jobs.feeds.files.formats.readers import Read, Shape, price, records

_PERIOD = re.compile(r"aggTrades-(\d{4}-\d\d(?:-\d\d)?+)(?!\d)", re.IGNORECASE)
_MINUTE = len("2026-03-02T09:00")
_EXACT = Context(prec=100)  # digits of a sum of quantities


class _Minute:
    """The trades of one minute so far."""

    def __init__(self, first: _Aggregate) -> None:
        self.start = first.minute
        self._open = self._high = self._low = self._close = first.price
        self._volume = Decimal(first.quantity)
        self._trades = first.trades

    def add(self, aggregate: _Aggregate) -> None:
        value = Decimal(aggregate.price)
        if value > Decimal(self._high):
            self._high = aggregate.price
        if value < Decimal(self._low):
            self._low = aggregate.price
        self._close = aggregate.price
        self._volume = _EXACT.add(self._volume, Decimal(aggregate.quantity))
        self._trades += aggregate.trades

    def candle(self, symbol: str) -> Candle:
        prices = (self._open, self._high, self._low, self._close)
        return Candle(symbol, f"{self.start}:00.000000Z", prices, None, None, format(self._volume, "f"), self._trades)


class _Aggregate:
    """One line: `minute` is the beginning of its time in contract form."""

    __slots__ = ("minute", "price", "quantity", "trades")

    def __init__(self, fields: list[str], moment: str) -> None:
        self.minute = moment[:_MINUTE]
        self.price, self.quantity = price(fields[1]), price(fields[2])
        check_price(self.price)
        check_price(self.quantity)
        first, last = fields[3].strip(), fields[4].strip()
        if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit() and int(first) <= int(last)):
            raise ValueError(f"trade ids from {first[:40]!r} to {last[:40]!r}")
        self.trades = int(last) - int(first) + 1


def minutes_of(shape: Shape, name: str) -> Read:
    """The reader of candles; `name` is the file's name, whose date may bound the file."""
    found = _PERIOD.search(name)
    period = found[1] if found else None
    symbol = shape.instrument or ""

    def read(lines: Iterable[Line]) -> Iterator[Item]:
        current: _Minute | None = None
        whole, place = False, 0  # of the current minute: it has all its trades; its last line
        for place_of_line, found in records(shape, lines, lambda fields, _, moment: _Aggregate(fields, moment)):
            if isinstance(found, ValueError):
                yield place_of_line, found
            elif current is not None and found.minute < current.start:
                yield place_of_line, ValueError(f"a trade of {found.minute} follows one of {current.start}: sort the file by time")
            else:
                if current is not None and found.minute == current.start:
                    current.add(found)
                else:
                    if current is not None:
                        yield place, _finished(current, symbol, whole=whole)
                    whole = current is not None or _bounds(period, found.minute)
                    current = _Minute(found)
                place = place_of_line
        if current is not None:
            yield place, _finished(current, symbol, whole=whole and _bounds(period, current.start))

    return read


def _bounds(period: str | None, minute: str) -> bool:
    return period is not None and minute.startswith(period)


def _finished(minute: _Minute, symbol: str, *, whole: bool) -> Candle | PartOfMinute:
    return minute.candle(symbol) if whole else PartOfMinute(minute.start)
