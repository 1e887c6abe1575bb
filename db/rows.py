"""Rows as dataclasses: the fields of a class are the columns of its table.

NUMERIC is exact in both directions. Times are aware UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, date
from decimal import Decimal
from functools import cache
from operator import attrgetter
from types import MappingProxyType, NoneType, UnionType
from typing import Any, ClassVar, Protocol, TypeVar, get_args, get_origin, get_type_hints

import orjson

from db.copy import NULL, empty_staging, escaped, insert_staged, stage_rows
from db.partitions import DAILY, MONTHLY, make_days, make_months
from db.postgres import Cursor


class RowType(Protocol):
    """A dataclass whose fields are columns."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


Row = TypeVar("Row", bound=RowType)
Parameters = Mapping[str, object] | Sequence[object]


@cache
def columns_of(kind: type[RowType]) -> tuple[str, ...]:
    """The names of the columns, in the order of the fields."""
    return tuple(field.name for field in fields(kind))


def insert_rows(cursor: Cursor, table: str, rows: Sequence[RowType]) -> int:
    """Insert the rows whose key is not in the table yet, by staged COPY; returns their number.

    Missing partitions are created.
    """
    if not rows:
        return 0
    make_partitions(cursor, table, rows)
    columns = ", ".join(columns_of(type(rows[0])))
    _stage(cursor, table, rows)
    inserted = insert_staged(cursor, table, columns)
    empty_staging(cursor, table)
    return inserted


def upsert_rows(cursor: Cursor, table: str, rows: Sequence[RowType], key: Sequence[str]) -> None:
    """Insert the rows; a row with the same key replaces the stored one.

    Keys of one call are different. Missing partitions are created.
    """
    if not rows:
        return
    make_partitions(cursor, table, rows)
    columns = columns_of(type(rows[0]))
    staging = _stage(cursor, table, rows)
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in key)
    cursor.execute(
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(columns)} FROM {staging}"  # noqa: S608
        f" ORDER BY {', '.join(key)} ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes}"
    )
    empty_staging(cursor, table)


def select_rows(cursor: Cursor, kind: type[Row], table: str, rest: str, parameters: Parameters = ()) -> list[Row]:
    """The rows of `SELECT columns FROM table` with the rest of the statement."""
    cursor.execute(f"SELECT {', '.join(columns_of(kind))} FROM {table} {rest}", parameters)  # noqa: S608
    readers = _readers(kind)
    return [kind(*map(_read, readers, row)) for row in cursor]


def make_partitions(cursor: Cursor, table: str, rows: Iterable[Any]) -> None:
    """Create the missing partitions of these rows, by their `time`."""
    if table in MONTHLY:
        make_months(cursor, table, {f"{day:%Y-%m}" for day in _days(rows)})
    elif table in DAILY:
        make_days(cursor, table, {f"{day:%Y-%m-%d}" for day in _days(rows)})


def _days(rows: Iterable[Any]) -> set[date]:
    """The days of the rows in UTC."""
    return {row.time.astimezone(UTC).date() for row in rows}


def lines_of(kind: type[RowType], rows: Iterable[Any]) -> Iterator[str]:
    """One line of COPY's text format for each row of this class."""
    values_of, text_of = _values_of(kind), _TEXTS.get
    for row in rows:
        yield "\t".join([text_of(type(value), str)(value) for value in values_of(row)]) + "\n"


@cache
def _values_of(kind: type[RowType]) -> Callable[[Any], tuple[Any, ...]]:
    return attrgetter(*columns_of(kind))


def _copied_amounts(value: Mapping[str, Decimal]) -> str:
    return escaped(orjson.dumps({name: format(amount, "f") for name, amount in value.items()}).decode())


# By type, because a batch of reports has some 100,000 values.
_TEXTS: dict[type, Callable[[Any], str]] = {
    NoneType: lambda value: NULL,
    str: escaped,
    Decimal: lambda value: format(value, "f"),
    bytes: lambda value: f"\\\\x{value.hex()}",
    dict: _copied_amounts,
    MappingProxyType: _copied_amounts,
}


def _stage(cursor: Cursor, table: str, rows: Sequence[RowType]) -> str:
    kind = type(rows[0])
    return stage_rows(cursor, table, ", ".join(columns_of(kind)), lines_of(kind, rows))


@cache
def _readers(kind: type[RowType]) -> tuple[Callable[[Any], Any] | None, ...]:
    """Per column the function that makes its value of that of psycopg2; None: it is one already."""
    hints = get_type_hints(kind)
    return tuple(_reader(hints[name]) for name in columns_of(kind))


def _read(read: Callable[[Any], Any] | None, value: Any) -> Any:
    return value if read is None or value is None else read(value)


def _reader(hint: Any) -> Callable[[Any], Any] | None:
    plain: Any = next((one for one in get_args(hint) if one is not type(None)), hint) if isinstance(hint, UnionType) else hint
    if plain is Decimal:
        return Decimal
    if plain is bytes:
        return bytes
    if get_origin(plain) is not None:  # a mapping of amounts
        return lambda value: {name: Decimal(amount) for name, amount in value.items()}
    return None
