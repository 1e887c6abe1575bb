"""SQL of `book_tops`: best bid and best ask of a book, at most one row each `BOOK_HISTORY_SECONDS`.

Symbol and time identify a row. The first row that is stored stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, ClassVar

import orjson

from db.copy import copy_line, empty_staging, insert_staged, stage_rows
from db.decimals import is_decimal
from db.inserted import Inserted
from db.partitions import make_months
from db.postgres import Cursor
from db.scenarios.status import BOOK_STATES
from db.timestamps import format_time, parse_time

MAX_ID = 2**63 - 1  # of a bigint

_COLUMNS = "symbol, time, bid, bid_qty, ask, ask_qty, weighted_mid, imbalance, update_id, state"
_AMOUNTS = ("bid", "bid_qty", "ask", "ask_qty", "weighted_mid")


@dataclass(frozen=True, slots=True)
class BookTop:
    """One row: decimals with the digits of the exchange, `time` is the exchange's event time.

    `time` is in contract form, `imbalance` is that of the best level. The names are those of the
    columns.
    """

    table: ClassVar[str] = "book_tops"

    symbol: str
    time: str
    bid: str
    bid_qty: str
    ask: str
    ask_qty: str
    weighted_mid: str
    imbalance: float
    update_id: int
    state: str

    def encode(self) -> bytes:
        """The row as an entry of the stream `book_tops` has it: JSON."""
        return orjson.dumps(asdict(self))

    @classmethod
    def parse(cls, text: bytes) -> BookTop:
        """The row of an encoded one. Raises `ValueError` if it is none, or a value is wrong."""
        row = read_object(text, cls.__slots__)
        top = cls(**{**row, "symbol": checked_symbol(row["symbol"]), "time": checked_time(row["time"])})
        _check_amounts(top)
        check_update_id(top.update_id)
        if type(top.imbalance) not in (int, float) or not -1 <= top.imbalance <= 1:
            raise ValueError(f"imbalance {top.imbalance!r:.40} is not between -1 and 1")
        if top.state not in BOOK_STATES:
            raise ValueError(f"no state of a book is named {top.state!r:.40}")
        return top


def insert_book_tops(cursor: Cursor, rows: Sequence[BookTop]) -> Inserted:
    """Insert the rows that are not stored yet. Missing monthly partitions are created."""
    make_months(cursor, "book_tops", {row.time[:7] for row in rows})
    stage_rows(cursor, "book_tops", _COLUMNS, map(_line, rows))
    inserted = insert_staged(cursor, "book_tops", _COLUMNS)
    empty_staging(cursor, "book_tops")
    return Inserted.of(len(rows), inserted)


def read_object(text: bytes, names: Sequence[str]) -> dict[str, Any]:
    """The values of a JSON object that has exactly these names. Raises `ValueError`."""
    row = orjson.loads(text)
    if not isinstance(row, Mapping) or set(row) != set(names):
        raise ValueError(f"no object with the fields {', '.join(names)}")
    return dict(row)


def checked_symbol(symbol: Any) -> str:
    """The symbol. Raises `ValueError` if it is no printable text."""
    if not isinstance(symbol, str) or not symbol or not symbol.isprintable():
        raise ValueError(f"no symbol: {symbol!r:.40}")
    return symbol


def checked_time(time: Any) -> str:
    """The time in contract form. Raises `ValueError` if it is none."""
    if not isinstance(time, str):
        raise ValueError(f"no time: {time!r:.40}")
    return format_time(parse_time(time))


def check_update_id(update_id: Any) -> None:
    """Raise `ValueError` unless it is an id that a bigint holds."""
    if type(update_id) is not int or not 0 <= update_id <= MAX_ID:
        raise ValueError(f"no update id: {update_id!r:.40}")


def _check_amounts(top: BookTop) -> None:
    for name in _AMOUNTS:
        amount = getattr(top, name)
        if not isinstance(amount, str) or not is_decimal(amount) or not Decimal(amount):
            raise ValueError(f"{name} {amount!r:.40} is no decimal above 0")
    if Decimal(top.bid) >= Decimal(top.ask):
        raise ValueError(f"bid {top.bid} is not below ask {top.ask}")


def _line(row: BookTop) -> str:
    return copy_line(*(getattr(row, name) for name in BookTop.__slots__))
