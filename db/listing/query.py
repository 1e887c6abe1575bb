"""Listings of tables, page by page.

PostgreSQL writes the rows as JSON or CSV. Times and numbers stay text and are never converted.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import orjson
from psycopg2 import sql

from db.postgres import Cursor, scalar
from db.timestamps import format_time, parse_time

Kind = Literal["text", "time", "decimal", "literal", "integer", "number", "boolean", "json"]
Form = Literal["json", "csv"]
Key = tuple[str | int, ...]

# The session's time zone is UTC (db/postgres.py).
_TIME = """to_char({}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
# JSON and spreadsheets have neither infinity nor NaN (which PostgreSQL sorts above infinity): both
# become NULL. The sum makes negative zero zero.
_FINITE = "CASE WHEN abs({0}) < 'infinity' THEN {0} + 0 END"
# JSON contains no control characters, so that a COPY quoted and delimited by two of them leaves it
# unchanged.
_OPTIONS: Mapping[Form, str] = {"json": r"FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02'", "csv": "FORMAT csv"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column by its name for clients; `column` is its name in the table, if that differs.

    `optional`: may be NULL. A `number` is double precision. A `decimal` is numeric, in JSON a
    string; a `literal` is numeric too, in JSON a number with all its digits. `json` is jsonb.
    `computed` is the SQL of a value that no column has.
    """

    name: str
    kind: Kind
    column: str = ""
    optional: bool = False
    computed: str = ""

    @property
    def stored(self) -> str:
        """Name in the table, quoted, or the SQL of a computed value."""
        return f"({self.computed})" if self.computed else f'"{self.column or self.name}"'

    @property
    def value(self) -> str:
        """SQL of the listed value."""
        if self.kind == "time":
            return _TIME.format(self.stored)
        return _FINITE.format(self.stored) if self.kind == "number" else self.stored


@dataclass(frozen=True, slots=True)
class Filter:
    """An argument by its name for clients.

    It selects the rows in which one of the `columns` is equal to its value, or compares to it by
    `operator`. Without `columns`, the column has the name of the argument.
    """

    name: str
    columns: tuple[str, ...] = ()
    operator: str = "="

    def holds(self, value: str) -> sql.Composed:
        """Return the SQL condition."""
        compare = sql.SQL(f"{{}} {self.operator} {{}}")
        each = (compare.format(sql.Identifier(column), sql.Literal(value)) for column in self.columns or (self.name,))
        return sql.SQL("({})").format(sql.SQL(" OR ").join(each))


@dataclass(frozen=True, slots=True)
class Listing:
    """The listing of one table, or of `source`: a query with the alias `table`.

    `source` may read the relation `given`, whose columns `given` declares; `RowFilter.given` has
    its rows. The columns of `key` order the rows, and identify each row if the required filters are
    given. The first one is the time that selects partitions. `filters` are the arguments that
    select rows. `condition`, in SQL, always applies. `instruments` are the columns of instruments,
    if a list may have several: a reader of some instruments receives rows of these alone.
    """

    name: str
    table: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    filters: tuple[Filter, ...]
    condition: str | None = None
    instruments: tuple[str, ...] = ()
    source: str = ""
    given: str = ""

    @property
    def header(self) -> bytes:
        """First line of a CSV file."""
        return ",".join(column.name for column in self.columns).encode() + b"\n"

    @property
    def key_columns(self) -> list[Column]:
        """Columns of `key`, in its order."""
        by_name = {column.name: column for column in self.columns}
        return [by_name[name] for name in self.key]

    def check_key(self, values: list[Any]) -> Key:
        """Return the key that a client sent.

        Raises `ValueError` if PostgreSQL could not read it.
        """
        return tuple(_CHECKS[column.kind](value) for column, value in zip(self.key_columns, values, strict=True))


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Selection of rows by the values of filters, and by `start` <= time < `end`.

    Both times are in contract form, None if open. `instruments` are those whose rows may be read,
    None for all. `given` is the JSON list of the rows of the relation `given`.
    """

    filters: Mapping[str, str] = field(default_factory=dict)
    start: str | None = None
    end: str | None = None
    descending: bool = False
    instruments: frozenset[str] | None = None
    given: str = "[]"


@dataclass(frozen=True, slots=True)
class Page:
    """Rows as text, each ended by a line feed, and the key of the last row.

    None if no row follows.
    """

    lines: bytes
    following: Key | None


def read_page(
    cursor: Cursor, listing: Listing, wanted: RowFilter, limit: int, form: Form, after: Key | None = None, offset: int = 0
) -> Page:
    """Return up to `limit` wanted rows that follow `after` in their order.

    The first `offset` of them are left out. In JSON each row is an object on its own line. CSV has
    no header.
    """
    # The rows become text after they are sorted: a sort of the texts would be slower.
    order = _order(listing, wanted)
    query = sql.SQL(
        "COPY ({} SELECT {} FROM (SELECT * FROM {} WHERE {} ORDER BY {} LIMIT {} OFFSET {}) AS page ORDER BY {}) TO STDOUT WITH ({})"
    ).format(
        _given(listing, wanted),
        sql.SQL(_selected(listing, form)),
        _relation(listing),
        sql.SQL(" AND ").join(_conditions(listing, wanted, after)),
        order,
        sql.Literal(limit + 1),
        sql.Literal(offset),
        order,
        sql.SQL(_OPTIONS[form]),
    )
    buffer = io.BytesIO()
    cursor.copy_expert(query, buffer)
    lines = buffer.getvalue()
    if cursor.rowcount <= limit:
        return Page(lines, None)
    lines = lines[: _last_record(lines, form)]
    return Page(lines, _key(listing, lines[_last_record(lines, form) :], form))


def count_rows(cursor: Cursor, listing: Listing, wanted: RowFilter) -> int:
    """Return the number of wanted rows."""
    conditions = sql.SQL(" AND ").join(_conditions(listing, wanted, None))
    cursor.execute(sql.SQL("{} SELECT count(*) FROM {} WHERE {}").format(_given(listing, wanted), _relation(listing), conditions))
    return int(scalar(cursor))


def _given(listing: Listing, wanted: RowFilter) -> sql.Composable:
    if not listing.given:
        return sql.SQL("")
    columns = sql.SQL(listing.given)
    return sql.SQL("WITH given AS (SELECT * FROM jsonb_to_recordset({}) AS given ({}))").format(sql.Literal(wanted.given), columns)


def _relation(listing: Listing) -> sql.Composable:
    name = sql.Identifier(listing.table)
    return sql.SQL("({}) AS {}").format(sql.SQL(listing.source), name) if listing.source else name


def _conditions(listing: Listing, wanted: RowFilter, after: Key | None) -> Iterator[sql.Composable]:
    yield sql.SQL(listing.condition or "TRUE")
    for each in listing.filters:
        if each.name in wanted.filters:
            yield each.holds(wanted.filters[each.name])
    if wanted.instruments is not None:
        names = sql.Literal(sorted(wanted.instruments))
        for column in map(sql.Identifier, listing.instruments):
            yield sql.SQL("({} IS NULL OR {} = ANY ({}::text[]))").format(column, column, names)
    keys = listing.key_columns
    if wanted.start is not None:
        yield _compare(keys[0], ">=", wanted.start)
    if wanted.end is not None:
        yield _compare(keys[0], "<", wanted.end)
    if after is not None:
        yield from _following(keys, after, descending=wanted.descending)


def _following(keys: Sequence[Column], after: Key, *, descending: bool) -> Iterator[sql.Composable]:
    """Yield the conditions of the rows behind a key.

    PostgreSQL selects the partitions by the first one. It estimates the number of rows by all of
    them as if they were independent: a comparison of the whole key would count the time twice, and
    the last pages of a long list would be sorted whole.
    """
    first, others = keys[0], keys[1:]
    if not others:
        yield _compare(first, "<" if descending else ">", after[0])
        return
    yield _compare(first, "<=" if descending else ">=", after[0])
    names = sql.SQL(", ").join(sql.SQL(column.stored) for column in others)
    values = sql.SQL(", ").join(map(sql.Literal, after[1:]))
    passed = sql.SQL(">=" if descending else "<=")
    yield sql.SQL("NOT ({} AND ({}) {} ({}))").format(_compare(first, "=", after[0]), names, passed, values)


def _compare(column: Column, operator: str, value: str | int) -> sql.Composed:
    return sql.SQL("{} {} {}").format(sql.SQL(column.stored), sql.SQL(operator), sql.Literal(value))


def _order(listing: Listing, wanted: RowFilter) -> sql.Composed:
    way = sql.SQL(" DESC" if wanted.descending else "")
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
    """Return the text before the value in JSON, the SQL of its text, and the text behind it."""
    value = f"to_json({column.value})::text" if column.kind == "text" else column.value
    if column.optional or column.kind == "number":
        quoted = f"""'"' || {value} || '"'""" if column.kind in ("time", "decimal") else f"({value})::text"
        return "", f"coalesce({quoted}, 'null')", ""
    if column.kind == "json":
        value = f"{value}::text"
    return ('"', value, '"') if column.kind in ("time", "decimal") else ("", value, "")


def _last_record(lines: bytes, form: Form) -> int:
    """Return the start of the last record.

    A line break inside a CSV field ends no record: an odd number of quotes follows it.
    """
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
