"""Batches of records that `db.admission` has checked.

Bus and store take such batches without a second check. A batch of trades is checked in one match,
which costs a third of a check of each trade. A parser that has proved the form of its trades
returns `WellFormedTrades`, of which only symbols and times are checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from db.admission import Windows, check_quote, check_trade
from db.messages import Tick, Trade, trade_lines
from db.timestamps import day_exists

Record = TypeVar("Record")

# Lines of `db.messages.trade_lines` that pass every check except those of symbol, window and day.
# Columns after the side are not checked here.
_PRICE = rb"(?=[0.]*+[1-9])[0-9]{1,24}+(?:\.[0-9]{1,24}+)?+"
_TIME = rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z"
_LINE = rb"[^\t\n]++\t(?:0|[1-9][0-9]{0,17}+)\t%b\t%b\t%b\t(?:buy|sell)(?:\t[0-9\\N]*+)*+\n" % (_TIME, _PRICE, _PRICE)
_are_good_lines = re.compile(rb"(?:%b)*+" % _LINE).fullmatch
_FIELDS = 6  # of a trade without ids of orders
_DAY = len("2025-11-18")


class AdmittedQuotes(list[Tick]):
    """Quotes of which each has passed `check_quote`."""


class AdmittedTrades(list[Trade]):
    """Trades of which each has passed `check_trade`; `lines` has the format of `trade_lines`."""

    def __init__(self, trades: Iterable[Trade] = (), lines: bytes | None = None) -> None:
        super().__init__(trades)
        self.lines = trade_lines(self) if lines is None else lines


class WellFormedTrades(list[Trade]):
    """Trades that pass `check_trade` in every window that contains their times.

    None has ids of orders.
    """


def admit_quotes(quotes: Iterable[Tick], windows: Windows, refuse: Callable[[Tick, ValueError], None]) -> AdmittedQuotes:
    """The quotes that pass the checks, in order; `refuse` is called with each other one."""
    return AdmittedQuotes(_passing(quotes, lambda quote: check_quote(quote, windows[quote.instrument]), refuse))


def admit_trades(trades: Sequence[Trade], windows: Windows, refuse: Callable[[Trade, ValueError], None]) -> AdmittedTrades:
    """The trades that pass the checks, in order; `refuse` is called with each other one."""
    if isinstance(trades, WellFormedTrades) and _are_inside({trade[0] for trade in trades}, [trade[2] for trade in trades], windows):
        return AdmittedTrades(trades)
    columns = list(zip(*trades, strict=False))
    no_orders = len(trades) * 2 == sum(column.count(None) for column in columns[_FIELDS:])
    if columns and no_orders and set(map(type, columns[1])) == {int} and {*map(type, columns[3]), *map(type, columns[4])} == {str}:
        try:
            lines = trade_lines(trades)
        except UnicodeEncodeError:
            lines = b""
        if lines.count(b"\n") == len(trades) and _are_good_lines(lines) and _are_inside(columns[0], columns[2], windows):
            return AdmittedTrades(trades, lines)
    return AdmittedTrades(_passing(trades, lambda trade: check_trade(trade, windows[trade.symbol]), refuse))


def admit_lines(lines: bytes, windows: Windows, refuse: Callable[[bytes, ValueError], None]) -> bytes:
    """The lines of trades that pass the checks, in order; `refuse` is called with the others."""

    def check(line: bytes) -> None:
        trade = _trade(line)
        check_trade(trade, windows[trade.symbol])

    passing: Iterator[bytes] = _passing(lines.splitlines(keepends=True), check, refuse)
    return b"".join(passing)


def _passing(records: Iterable[Record], check: Callable[[Record], None], refuse: Callable[[Record, ValueError], None]) -> Iterator[Record]:
    """Yield the records that `check` takes, in order; `refuse` is called with each other one."""
    for record in records:
        try:
            check(record)
        except ValueError as error:
            refuse(record, error)
        else:
            yield record


def _are_inside(symbols: Iterable[str], times: Sequence[str], windows: Windows) -> bool:
    """True if every symbol's window contains all of these times, which are in contract form."""
    first, last = min(times), max(times)
    days = {first[:_DAY]} if first[:_DAY] == last[:_DAY] else {time[:_DAY] for time in times}
    return all(map(day_exists, days)) and all(
        (window := windows.get(symbol)) is not None and window.contains(first) and window.contains(last) for symbol in set(symbols)
    )


def _trade(line: bytes) -> Trade:
    """The trade of a line. Raises `ValueError` if it has none."""
    fields = line.decode().rstrip("\n").split("\t")
    if len(fields) < _FIELDS or not (fields[1].isascii() and fields[1].isdecimal()):
        raise ValueError("not a line of a trade")
    symbol, number, time, price, quantity, side, *orders = fields
    return Trade(symbol, int(number), time, price, quantity, side, *[None if order == "\\N" else int(order) for order in orders[:2]])
