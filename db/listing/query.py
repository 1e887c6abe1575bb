"""Listing a table page by page: PostgreSQL writes the rows as JSON or CSV, and no time or number is ever anything but its text."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import orjson
from psycopg2 import sql

from db.timestamps import format_time, parse_time

Kind = Literal["text", "time", "decimal", "integer", "number", "boolean"]
Form = Literal["json", "csv"]
Key = tuple[str | int, ...]

# The session's time zone is UTC (db/postgres.py).
_TIME = """to_char({}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
# Neither JSON nor a spreadsheet knows NaN (which PostgreSQL sorts above infinity) or infinity: there they are nothing.
_FINITE = "CASE WHEN abs({0}) < 'infinity' THEN {0} END"
# JSON holds no control character, so a COPY quoted and delimited by two of them gives it as it is.
_OPTIONS: Mapping[Form, str] = {"json": r"FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02'", "csv": "FORMAT csv"}


@dataclass(frozen=True, slots=True)
class Column:
    """What clients call `name`: a column of the table, `column` where it has another name there. `optional` where it may be NULL.

    A `number` is double precision, a `decimal` numeric.
    """

    name: str
    kind: Kind
    column: str = ""
    optional: bool = False

    @property
    def stored(self) -> str:
        """Its name in the table, quoted."""
        return f'"{self.column or self.name}"'

    @property
    def value(self) -> str:
        """The SQL of what is listed of it."""
        if self.kind == "time":
            return _TIME.format(self.stored)
        return _FINITE.format(self.stored) if self.kind == "number" else self.stored


@dataclass(frozen=True, slots=True)
class Filter:
    """What clients call `name`: it chooses the rows in which one of these columns of text has its value; without any, the column `name`."""

    name: str
    columns: tuple[str, ...] = ()

    def holds(self, value: str) -> sql.Composed:
        """The SQL condition."""
        each = (sql.SQL("{} = {}").format(sql.Identifier(column), sql.Literal(value)) for column in self.columns or (self.name,))
        return sql.SQL("({})").format(sql.SQL(" OR ").join(each))


@dataclass(frozen=True, slots=True)
class Listing:
    """How one table is listed. `key` names the columns that order the rows and tell each from every other once the required
    filters are given; the first is the time that partitions go by. `filters` are what rows may be chosen by; `condition`, in SQL,
    holds always."""

    name: str
    table: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    filters: tuple[Filter, ...]
    condition: str | None = None

    @property
    def header(self) -> bytes:
        """The first line of a CSV file."""
        return ",".join(column.name for column in self.columns).encode() + b"\n"

    @property
    def key_columns(self) -> list[Column]:
        """The columns of `key`, in its order."""
        by_name = {column.name: column for column in self.columns}
        return [by_name[name] for name in self.key]

    def check_key(self, values: list[Any]) -> Key:
        """The key that a client brought; `ValueError` where PostgreSQL would not even read it."""
        return tuple(_CHECKS[column.kind](value) for column, value in zip(self.key_columns, values, strict=True))


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Which rows: the values of filters by their names, and `start` <= time < `end`, both in contract form, None where open."""

    filters: Mapping[str, str] = field(default_factory=dict)
    start: str | None = None
    end: str | None = None
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows as text, each record ended by a line feed, and the key to go on after: None where nothing follows."""

    lines: bytes
    following: Key | None


def read_page(cursor: Any, listing: Listing, part: RowFilter, limit: int, form: Form, after: Key | None = None) -> Page:
    """Up to `limit` rows of the part that follow `after` in its order; JSON objects a line, or CSV without a header."""
    query = sql.SQL("COPY (SELECT {} FROM {} WHERE {} ORDER BY {} LIMIT {}) TO STDOUT WITH ({})").format(
        sql.SQL(_selected(listing, form)),
        sql.Identifier(listing.table),
        sql.SQL(" AND ").join(_conditions(listing, part, after)),
        _order(listing, part),
        sql.Literal(limit + 1),
        sql.SQL(_OPTIONS[form]),
    )
    buffer = io.BytesIO()
    cursor.copy_expert(query, buffer)
    lines = buffer.getvalue()
    if cursor.rowcount <= limit:
        return Page(lines, None)
    lines = lines[: _last_record(lines, form)]
    return Page(lines, _key(listing, lines[_last_record(lines, form) :], form))


def _conditions(listing: Listing, part: RowFilter, after: Key | None) -> Iterator[sql.Composable]:
    yield sql.SQL(listing.condition or "TRUE")
    for each in listing.filters:
        if each.name in part.filters:
            yield each.holds(part.filters[each.name])
    keys = listing.key_columns
    if part.start is not None:
        yield _compare(keys[0], ">=", part.start)
    if part.end is not None:
        yield _compare(keys[0], "<", part.end)
    if after is not None:
        beyond = "<" if part.descending else ">"
        # It says nothing new, but it is what partitions are chosen by.
        yield _compare(keys[0], f"{beyond}=", after[0])
        names = sql.SQL(", ").join(sql.SQL(column.stored) for column in keys)
        yield sql.SQL("({}) {} ({})").format(names, sql.SQL(beyond), sql.SQL(", ").join(map(sql.Literal, after)))


def _compare(column: Column, operator: str, value: str | int) -> sql.Composed:
    return sql.SQL("{} {} {}").format(sql.SQL(column.stored), sql.SQL(operator), sql.Literal(value))


def _order(listing: Listing, part: RowFilter) -> sql.Composed:
    way = sql.SQL(" DESC" if part.descending else "")
    return sql.SQL(", ").join(sql.SQL(column.stored) + way for column in listing.key_columns)


@cache
def _selected(listing: Listing, form: Form) -> str:
    if form == "csv":
        return ", ".join(column.value for column in listing.columns)
    text, begin = "'", "{"
    for column in listing.columns:
        before, value, behind = _as_json(column)
        text += f"""{begin}"{column.name}":{before}' || {value} || '{behind}"""
        begin = ","
    return text + "}'"


def _as_json(column: Column) -> tuple[str, str, str]:
    """A column's value in JSON: what stands before it, the SQL of its text, what stands behind it."""
    value = f"to_json({column.value})::text" if column.kind == "text" else column.value
    if column.optional or column.kind == "number":
        quoted = f"""'"' || {value} || '"'""" if column.kind in ("time", "decimal") else f"({value})::text"
        return "", f"coalesce({quoted}, 'null')", ""
    return ('"', value, '"') if column.kind in ("time", "decimal") else ("", value, "")


def _last_record(lines: bytes, form: Form) -> int:
    """Where the last record begins. A line break inside a CSV field is no end: what follows it holds an odd number of quotes."""
    begin = lines.rfind(b"\n", 0, -1) + 1
    while form == "csv" and lines.count(b'"', begin) % 2:
        begin = lines.rfind(b"\n", 0, begin - 1) + 1
    return begin


def _key(listing: Listing, record: bytes, form: Form) -> Key:
    if form == "json":
        row = orjson.loads(record)
    else:
        names = [column.name for column in listing.columns]
        row = dict(zip(names, next(csv.reader(io.StringIO(record.decode(), newline=""))), strict=True))
    return tuple(int(row[column.name]) if column.kind == "integer" else row[column.name] for column in listing.key_columns)


def _check_text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("no text")
    return value


def _check_time(value: Any) -> str:
    return format_time(parse_time(_check_text(value)))


def _check_integer(value: Any) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise ValueError("no bigint")
    return value


_CHECKS: Mapping[Kind, Callable[[Any], str | int]] = {"text": _check_text, "time": _check_time, "integer": _check_integer}
