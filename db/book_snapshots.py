"""SQL of `book_snapshots`: whole books of up to 50 levels a side, every `BOOK_DEPTH_SECONDS`.

Symbol and time identify a row. The first row that is stored stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import orjson

from db.book_tops import check_update_id, checked_symbol, checked_time, read_object
from db.copy import copy_line, empty_staging, escaped, insert_staged, stage_rows
from db.decimals import is_decimal
from db.inserted import Inserted
from db.partitions import make_months
from db.postgres import Cursor

MAX_LEVELS = 50  # a side

_COLUMNS = "symbol, time, update_id, body"
_SIDES = ("bids", "asks")


@dataclass(frozen=True, slots=True)
class BookSnapshotRow:
    """One row. `time` is the exchange's event time, in contract form.

    `body` is {"bids": [[price, quantity], …], "asks": …}, best first, with the texts of the
    exchange.
    """

    table: ClassVar[str] = "book_snapshots"

    symbol: str
    time: str
    update_id: int
    body: Mapping[str, Any]

    def encode(self) -> bytes:
        """The row as an entry of the stream `book_tops` has it: JSON."""
        return orjson.dumps(asdict(self))

    @classmethod
    def parse(cls, text: bytes) -> BookSnapshotRow:
        """The row of an encoded one. Raises `ValueError` if it is none, or a value is wrong."""
        row = read_object(text, cls.__slots__)
        check_update_id(row["update_id"])
        return cls(checked_symbol(row["symbol"]), checked_time(row["time"]), row["update_id"], _checked_body(row["body"]))


def insert_book_snapshots(cursor: Cursor, rows: Sequence[BookSnapshotRow]) -> Inserted:
    """Insert the rows that are not stored yet. Missing monthly partitions are created."""
    make_months(cursor, "book_snapshots", {row.time[:7] for row in rows})
    stage_rows(cursor, "book_snapshots", _COLUMNS, map(_line, rows))
    inserted = insert_staged(cursor, "book_snapshots", _COLUMNS)
    empty_staging(cursor, "book_snapshots")
    return Inserted.of(len(rows), inserted)


def _checked_body(body: Any) -> dict[str, Any]:
    if not isinstance(body, Mapping) or set(body) != set(_SIDES):
        raise ValueError("the body has not exactly the fields bids and asks")
    for side in _SIDES:
        levels = body[side]
        if not isinstance(levels, list) or len(levels) > MAX_LEVELS or not all(map(_is_level, levels)):
            raise ValueError(f"{side} is no list of at most {MAX_LEVELS} pairs of decimals")
    return dict(body)


def _is_level(level: Any) -> bool:
    return isinstance(level, list) and len(level) == 2 and all(isinstance(text, str) and is_decimal(text) for text in level)


def _line(row: BookSnapshotRow) -> str:
    return copy_line(row.symbol, row.time, row.update_id, escaped(orjson.dumps(row.body).decode()))
