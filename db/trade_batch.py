"""Batches of trades as text: what `db.trades` needs of their columns. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from operator import lt

from db.timestamps import format_time, parse_time

_COLUMNS = "symbol, trade_id, time, price, quantity, side"
_WITH_ORDER_IDS = f"{_COLUMNS}, buyer_order_id, seller_order_id"
_FIELDS, _FIELDS_WITH_ORDER_IDS = 6, 8
_MINUTE = len("2025-11-18T12:34")
_CONTRACT_FORM = len("2025-11-18T12:34:56.789123Z")
# Bytes that are split into fields at once, so that the fields stay in the processor's cache.
_PIECE_BYTES = 1 << 15


@dataclass(slots=True)
class Climb:
    """The ids of one symbol in a batch, which rise from line to line."""

    first_id: int
    last_id: int
    last_time: bytes  # of the trade with the last id


class TradeBatch:
    """Lines of `db.messages.trade_lines`, grouped by symbol; of each symbol, their order is kept.

    The table's key begins with the symbol, and the times of a live stream rise: COPY of rows in the
    order of the key costs PostgreSQL less. `parts` are texts of lines. Those of a publisher are
    grouped already, which costs less than another order.

    `columns` names the fields of a line: six, or eight if one of the trades has the id of an order.
    `minutes` are the (symbol, `2025-11-18T12:34`) of the trades: `marks`, if they are given.
    `climbs` maps each symbol to its ids; it is None unless those of every symbol rise.

    Raises `ValueError` unless every line has these fields and a number as its id.
    """

    def __init__(self, *parts: bytes, marks: Set[tuple[str, str]] | None = None) -> None:
        if all(part.count(b"\t") == (_FIELDS - 1) * part.count(b"\n") for part in parts):
            self.columns, self._width = _COLUMNS, _FIELDS
        else:
            self.columns, self._width = _WITH_ORDER_IDS, _FIELDS_WITH_ORDER_IDS
            parts = tuple(map(_with_order_ids, parts))
        groups: dict[bytes, _Group] = {}
        for piece in _pieces(parts):
            _add(groups, piece, *_columns(piece, self._width), scans=marks is None)
        self._groups = sorted(groups.items())
        self.lines = b"".join([text for _, group in self._groups for text in group.texts])
        self.minutes: Set[tuple[str, str]] = (
            {(symbol.decode(), minute.decode()) for symbol, group in self._groups for minute in group.minutes} if marks is None else marks
        )
        climbs = {symbol.decode(): group.climb for symbol, group in self._groups if group.rises}
        if marks is not None and {symbol for symbol, _ in marks} != {symbol.decode() for symbol in groups}:
            raise ValueError("the marks are not those of the trades")
        self.climbs = climbs if len(climbs) == len(groups) else None

    def __len__(self) -> int:
        return self.lines.count(b"\n")

    def rows(self) -> Iterator[tuple[str, int, str, bytes]]:
        """Symbol, id, time in contract form, and text of every line, grouped by symbol."""
        for symbol, group in self._groups:
            for text in group.texts:
                _, ids, times = _columns(text, self._width)
                for number, time, line in zip(ids, times, text.split(b"\n"), strict=False):
                    yield symbol.decode(), number, contract_form(time), line


class _Group:
    """The lines of one symbol, in the order of their arrival."""

    __slots__ = ("climb", "minutes", "rises", "texts")

    def __init__(self) -> None:
        self.texts: list[bytes] = []
        self.minutes: set[bytes] = set()
        self.climb = Climb(0, -1, b"")
        self.rises = True

    def add(self, text: bytes, ids: Sequence[int], times: Sequence[bytes], *, scans: bool) -> None:
        """Add lines, at least one, with their columns."""
        climb = self.climb
        if not self.texts:
            climb.first_id, climb.last_id = ids[0], ids[0] - 1
        self.texts.append(text)
        if scans:
            self.minutes.update(_minutes(times))
        self.rises = self.rises and ids[0] > climb.last_id and all(map(lt, ids, islice(ids, 1, None)))
        climb.last_id, climb.last_time = ids[-1], times[-1]


def _pieces(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of the parts in pieces whose fields stay in the processor's cache."""
    for part in parts:
        begin = 0
        while begin < len(part):
            end = part.find(b"\n", begin + _PIECE_BYTES) + 1 or len(part)
            yield part[begin:end]
            begin = end


def _columns(piece: bytes, width: int) -> tuple[list[bytes], list[int], list[bytes]]:
    """Symbols, ids and times of some lines. Raises `ValueError`."""
    fields = piece.replace(b"\n", b"\t").split(b"\t")
    if len(fields) != piece.count(b"\n") * width + 1 or fields[-1]:
        raise ValueError("not lines of trades")
    return fields[:-1:width], list(map(int, fields[1::width])), fields[2::width]


def _add(groups: dict[bytes, _Group], piece: bytes, symbols: list[bytes], ids: list[int], times: list[bytes], *, scans: bool) -> None:
    """Add the lines of a piece to the groups of their symbols."""
    runs = _runs(symbols)
    if runs is None:
        lines, places = piece.split(b"\n"), dict[bytes, list[int]]()
        for place, symbol in enumerate(symbols):
            places.setdefault(symbol, []).append(place)
        for symbol, mine in places.items():
            text = b"\n".join([*[lines[place] for place in mine], b""])
            groups.setdefault(symbol, _Group()).add(text, [ids[place] for place in mine], [times[place] for place in mine], scans=scans)
        return
    begin = 0
    for first, end in runs:
        symbol = symbols[first]
        following = piece.find(b"\n%b\t" % symbols[end], begin) + 1 if end < len(symbols) else len(piece)
        groups.setdefault(symbol, _Group()).add(piece[begin:following], ids[first:end], times[first:end], scans=scans)
        begin = following


def _runs(symbols: list[bytes]) -> list[tuple[int, int]] | None:
    """The places of each symbol, first and beyond the last; None unless they are sorted."""
    runs, first = [], 0
    while first < len(symbols):
        symbol = symbols[first]
        end = bisect_right(symbols, symbol, first)
        if symbols[first:end].count(symbol) != end - first:
            return None
        runs.append((first, end))
        first = end
    return runs


def contract_form(time: bytes) -> str:
    """A time of a line in contract form."""
    text = time.decode()
    return text if len(text) == _CONTRACT_FORM and text.endswith("Z") else format_time(parse_time(text))


def _minutes(times: Sequence[bytes]) -> set[bytes]:
    """The minutes of some times."""
    minute = min(times)[:_MINUTE]
    return {minute} if minute == max(times)[:_MINUTE] else {time[:_MINUTE] for time in times}


def _with_order_ids(lines: bytes) -> bytes:
    """The lines with eight fields each: trades without ids of orders get NULL."""
    return b"".join(line + (b"\t\\N\t\\N\n" if line.count(b"\t") == _FIELDS - 1 else b"\n") for line in lines.splitlines())
