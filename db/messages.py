"""Messages of the bus: the arguments of a publish, and the entries of a stream."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Tick:
    """One quote from a source: decimal text with all digits, the source's time in contract form.

    `occurrence` numbers equal quotes of one time: 1, 2, …; closing prices have 0.
    """

    instrument: str
    bid: str
    ask: str
    mid: str
    time: str
    source: str
    volume: str | None = None
    occurrence: int = 1


class Trade(NamedTuple):
    """One trade of an exchange: decimal text, time in contract form, `side` `buy` or `sell`.

    `side` is that of the aggressor. The ids of the two orders are those of older messages, else
    None. A tuple, because thousands arrive per second.
    """

    symbol: str
    trade_id: int
    time: str
    price: str
    quantity: str
    side: str
    buyer_order_id: int | None = None
    seller_order_id: int | None = None


def trade_lines(trades: Iterable[Trade]) -> bytes:
    """Trades in COPY's text format: one line per trade, its fields separated by tabs.

    A line has six fields, or eight if the trade has the id of an order.
    """
    return "".join(
        [
            f"{symbol}\t{trade_id}\t{time}\t{price}\t{quantity}\t{side}\n"
            if buyer is None is seller
            else f"{symbol}\t{trade_id}\t{time}\t{price}\t{quantity}\t{side}\t{_copied(buyer)}\t{_copied(seller)}\n"
            for symbol, trade_id, time, price, quantity, side, buyer, seller in trades
        ]
    ).encode()


def mark_lines(marks: Iterable[tuple[str, str]]) -> bytes:
    """Symbols and minutes (`2025-11-18T12:34`) of trades, a line each, its minute with Z."""
    return "".join([f"{symbol}\t{minute}Z\n" for symbol, minute in sorted(marks)]).encode()


_are_marks = re.compile(rb"(?:[^\t\n]++\t[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}Z\n)++").fullmatch


def _copied(number: int | None) -> str:
    return "\\N" if number is None else str(number)


# Called with the id of a malformed entry, and its error.
NoteBad = Callable[[bytes, ValueError], None]


def ignore_bad(entry_id: bytes, error: ValueError) -> None:
    """Leave a malformed entry out."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """The position of a message in its channel."""

    epoch: str
    seq: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of a stream. `body` has the published bytes.

    `occurrence` is that of a quote. Entries without the field, as older versions left them, have 1.
    """

    id: bytes
    topic: str
    epoch: str
    seq: int
    body: bytes
    source: str
    volume: str | None
    occurrence: int = 1

    @classmethod
    def of(cls, entry_id: bytes, fields: Mapping[bytes, bytes]) -> Entry:
        """Build an entry from the fields that Redis returns.

        Raises `ValueError` if a field is missing or cannot be read.
        """
        try:
            return cls(
                id=entry_id,
                topic=fields[b"topic"].decode(),
                epoch=fields[b"epoch"].decode(),
                seq=int(fields[b"seq"]),
                body=fields[b"body"],
                source=fields[b"source"].decode(),
                volume=fields[b"volume"].decode() or None,
                occurrence=int(fields.get(b"occurrence", 1)),
            )
        except KeyError as error:
            raise _no_field(error) from None


@dataclass(frozen=True, slots=True)
class TradeLines:
    """One entry of the stream of trades; `lines` has the format of `trade_lines`.

    `admitted` is True if the publisher has checked every trade. `marks` are the symbols and minutes
    of the trades, None if the entry does not have them, as those of older versions.
    """

    id: bytes
    trades: int
    lines: bytes
    admitted: bool
    marks: frozenset[tuple[str, str]] | None = None

    @classmethod
    def of(cls, entry_id: bytes, fields: Mapping[bytes, bytes]) -> TradeLines:
        """Build an entry from the fields that Redis returns.

        Raises `ValueError` if a field is missing or cannot be read.
        """
        try:
            trades, lines = int(fields[b"trades"]), fields[b"lines"]
        except KeyError as error:
            raise _no_field(error) from None
        if not lines.isascii():
            lines.decode()
        if lines.count(b"\n") != trades or lines.count(b"\t") < 5 * trades:
            raise ValueError(f"not {trades} lines of trades")
        return cls(entry_id, trades, lines, b"admitted" in fields, _marks(fields.get(b"marks", b"")))


def _marks(text: bytes) -> frozenset[tuple[str, str]] | None:
    """The pairs of `mark_lines`; None for another text."""
    if not _are_marks(text):
        return None
    pairs = (line.split("\t") for line in text.decode().splitlines())
    return frozenset((symbol, minute.removesuffix("Z")) for symbol, minute in pairs)


def _no_field(error: KeyError) -> ValueError:
    return ValueError(f"the field {error.args[0].decode()} is missing")
