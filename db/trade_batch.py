"""Batches of trades as text: what `db.trades` needs of their columns. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import lt
from typing import NamedTuple

from db.timestamps import format_time, parse_time

_COLUMNS = "symbol, trade_id, time, price, quantity, side"
_WITH_ORDER_IDS = f"{_COLUMNS}, buyer_order_id, seller_order_id"
_FIELDS, _FIELDS_WITH_ORDER_IDS = 6, 8
_MINUTE = len("2025-11-18T12:34")
_CONTRACT_FORM = len("2025-11-18T12:34:56.789123Z")
# Bytes that are split into fields at once, so that the fields stay in the processor's cache.
_PIECE_BYTES = 1 << 15


class _Fields(NamedTuple):
    """The first three fields of some lines, column by column."""

    symbols: Sequence[bytes]
    ids: Sequence[int]
    times: Sequence[bytes]


@dataclass(slots=True)
class Climb:
    """The ids of one symbol in a batch, which rise from line to line."""

    first_id: int
    last_id: int
    last_time: bytes  # of the trade with the last id


class TradeBatch:
    """Lines of `db.messages.trade_lines`.

    `columns` names the fields of a line: six, or eight if one of the trades has the id of an order.
    `minutes` are the (symbol, `2025-11-18T12:34`) of the trades. `climbs` maps each symbol to its
    ids; it is None unless those of every symbol rise.

    Raises `ValueError` unless every line has these fields and a number as its id.
    """

    def __init__(self, lines: bytes) -> None:
        if lines.count(b"\t") == (_FIELDS - 1) * lines.count(b"\n"):
            self.columns, self.lines, self._width = _COLUMNS, lines, _FIELDS
        else:
            self.columns, self.lines, self._width = _WITH_ORDER_IDS, _with_order_ids(lines), _FIELDS_WITH_ORDER_IDS
        found: set[tuple[bytes, bytes]] = set()
        climbs: dict[bytes, Climb] | None = {}
        for fields in self._pieces():
            found.update(_minutes(fields))
            climbs = None if climbs is None else _risen(climbs, fields)
        self.minutes = {(symbol.decode(), minute.decode()) for symbol, minute in found}
        self.climbs = None if climbs is None else {symbol.decode(): climb for symbol, climb in climbs.items()}

    def __len__(self) -> int:
        return self.lines.count(b"\n")

    def rows(self) -> Iterator[tuple[str, int, str, bytes]]:
        """Symbol, id, time in contract form, and text of every line."""
        lines = iter(self.lines.splitlines())
        for fields in self._pieces():
            for symbol, number, time, line in zip(*fields, lines, strict=False):
                yield symbol.decode(), number, contract_form(time), line

    def _pieces(self) -> Iterator[_Fields]:
        begin = 0
        while begin < len(self.lines):
            end = self.lines.find(b"\n", begin + _PIECE_BYTES) + 1 or len(self.lines)
            piece, begin = self.lines[begin:end], end
            fields = piece.replace(b"\n", b"\t").split(b"\t")
            if len(fields) != piece.count(b"\n") * self._width + 1 or fields[-1]:
                raise ValueError("not lines of trades")
            yield _Fields(fields[: -1 : self._width], list(map(int, fields[1 :: self._width])), fields[2 :: self._width])


def contract_form(time: bytes) -> str:
    """A time of a line in contract form."""
    text = time.decode()
    return text if len(text) == _CONTRACT_FORM and text.endswith("Z") else format_time(parse_time(text))


def _minutes(fields: _Fields) -> set[tuple[bytes, bytes]]:
    """The symbols of some lines, each with the minutes of its times."""
    minute = min(fields.times)[:_MINUTE]
    if minute == max(fields.times)[:_MINUTE]:
        return {(symbol, minute) for symbol in set(fields.symbols)}
    return {(symbol, time[:_MINUTE]) for symbol, time in zip(fields.symbols, fields.times, strict=True)}


def _risen(climbs: dict[bytes, Climb], fields: _Fields) -> dict[bytes, Climb] | None:
    """The climbs with these lines added; None if the ids of a symbol do not rise."""
    for symbol, time in dict(zip(fields.symbols, fields.times, strict=True)).items():
        ids = [number for each, number in zip(fields.symbols, fields.ids, strict=True) if each == symbol]
        climb = climbs.setdefault(symbol, Climb(ids[0], ids[0] - 1, time))
        if ids[0] <= climb.last_id or not all(map(lt, ids, islice(ids, 1, None))):
            return None
        climb.last_id, climb.last_time = ids[-1], time
    return climbs


def _with_order_ids(lines: bytes) -> bytes:
    """The lines with eight fields each: trades without ids of orders get NULL."""
    return b"".join(line + (b"\t\\N\t\\N\n" if line.count(b"\t") == _FIELDS - 1 else b"\n") for line in lines.splitlines())
