"""Batches of records that `db.admission` has checked.

Bus and store take such batches without a second check. A batch of trades is checked in one match,
which costs a third of a check of each trade. A parser that has proved the form of its trades
returns a `UsualBatch`, of which only symbols and times are checked.
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


class UsualBatch:
    """Trades as text that pass `check_trade` in every window that contains their times.

    None has ids of orders. `lines` has the format of `trade_lines`, by symbol, with the number of
    trades in `counts`. `marks` are the (symbol, `2025-11-18T12:34`) of the trades. `newest` is the
    trade with the highest id, and `volumes` the sum of the quantities without repeated ids.

    All times are from `earliest` to `latest`, which may lie up to a second before and after them.
    `times` are those of at most `SAMPLED_TIMES` trades, evenly spread over the arrival.

    `admit_batch` sets `admitted`.
    """

    __slots__ = ("admitted", "counts", "earliest", "latest", "lines", "marks", "newest", "times", "volumes")

    def __init__(self, seconds: tuple[str, str], times: Sequence[str]) -> None:
        first, last = seconds  # `2025-11-18T12:34:56.`
        self.earliest, self.latest = f"{first}000000Z", f"{last}999999Z"
        self.times = times
        self.lines: dict[str, bytes] = {}
        self.counts: dict[str, int] = {}
        self.marks: set[tuple[str, str]] = set()
        self.newest: dict[str, Trade] = {}
        self.volumes: dict[str, str] = {}
        self.admitted = False

    def __len__(self) -> int:
        return sum(self.counts.values())

    def __iter__(self) -> Iterator[Trade]:
        """The trades, grouped by symbol, of each symbol in order."""
        return (_trade(line) for lines in self.lines.values() for line in lines.splitlines())


SAMPLED_TIMES = 8


def admit_quotes(quotes: Iterable[Tick], windows: Windows, refuse: Callable[[Tick, ValueError], None]) -> AdmittedQuotes:
    """The quotes that pass the checks, in order; `refuse` is called with each other one."""
    return AdmittedQuotes(_passing(quotes, lambda quote: check_quote(quote, windows[quote.instrument]), refuse))


def admit_batch(batch: UsualBatch, windows: Windows, refuse: Callable[[Trade, ValueError], None]) -> UsualBatch | AdmittedTrades:
    """The batch if all of its trades pass the checks; else those that do, as `admit_trades`."""
    if not _are_inside(batch.lines, (batch.earliest, batch.latest), windows):
        return admit_trades(list(batch), windows, refuse)
    batch.admitted = True
    return batch


def admit_trades(trades: Sequence[Trade], windows: Windows, refuse: Callable[[Trade, ValueError], None]) -> AdmittedTrades:
    """The trades that pass the checks, in order; `refuse` is called with each other one."""
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
