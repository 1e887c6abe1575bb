"""Delimited text: delimiter, header, fields, and the columns of a format's fields. Pure."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from jobs.feeds.files.formats.model import BadOptionValue

DELIMITERS = ",;\t"
_IGNORED_IN_NAMES = re.compile(r"[\s\"'<>]")
PRICES = ("open", "high", "low", "close")
FIELDS = (
    "time", "instrument", "bid", "ask", "mid", "volume", *PRICES,
    *(f"bid_{price}" for price in PRICES), *(f"ask_{price}" for price in PRICES), "trades",
)  # fmt: skip

Split = Callable[[str], list[str]]


def column_name(text: str) -> str:
    """A column's name as it is compared: without case, blanks, quotes and `<>`."""
    return _IGNORED_IN_NAMES.sub("", text.lstrip("\ufeff")).lower()


def delimiter_of(line: str) -> str:
    """The delimiter that a line has most often; the first of `DELIMITERS` if it has none."""
    return max(DELIMITERS, key=line.count)


def splitter(delimiter: str) -> Split:
    """A function that splits a line into fields, which may have blanks around them.

    Each line is split by itself, so that one quotation mark too many costs one line.
    """

    def split(line: str) -> list[str]:
        if '"' not in line:
            return line.split(delimiter)
        try:
            return next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter, skipinitialspace=True))
        except csv.Error as error:
            raise ValueError(f"no line of CSV: {error}") from None

    return split


@dataclass(frozen=True, slots=True)
class Table:
    """The shape of a delimited file: `names` are those of its header, empty without one."""

    delimiter: str
    names: tuple[str, ...]
    width: int

    @classmethod
    def of_header(cls, line: str) -> Table:
        """The table whose header is this line."""
        delimiter = delimiter_of(line)
        try:
            names = tuple(column_name(field) for field in splitter(delimiter)(line))
        except ValueError:
            names = ()
        return cls(delimiter, names, len(names))

    def place(self, name: str) -> int | None:
        """The index of a column; None if there is none. Of equal names, the last one counts."""
        wanted = column_name(name)
        return max((index for index, each in enumerate(self.names) if each == wanted), default=None)

    def places(self, columns: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
        """Field -> the index of its column, of the `columns` that are there."""
        return {field: (place,) for field, name in columns.items() if (place := self.place(name)) is not None}

    def has(self, *names: str) -> bool:
        """True if every column is there."""
        return all(column_name(name) in self.names for name in names)


def parse_columns(text: str) -> dict[str, tuple[str, ...]]:
    """Read the value of `--columns`: field -> one or two columns.

    Raises `BadOptionValue` for an unknown field, a field that is named twice, or an empty column.
    """
    found: dict[str, tuple[str, ...]] = {}
    for part in re.findall(r'(?:[^,"]|"[^"]*")+', text) or [text]:
        field, equals, columns = part.partition("=")
        name, places = field.strip().lower(), tuple(column.strip().strip('"') for column in columns.split("+"))
        if not equals or name not in FIELDS:
            raise BadOptionValue("--columns", f"{part.strip()[:60]!r} is not FIELD=COLUMN; the fields are {' '.join(FIELDS)}")
        if name in found:
            raise BadOptionValue("--columns", f"{name} is there twice")
        if len(places) > 1 and name != "time":
            raise BadOptionValue("--columns", f"{name} has {len(places)} columns; + joins those of time alone")
        if not all(places):
            raise BadOptionValue("--columns", f"{name} has no column")
        found[name] = places
    return found


def places_of(table: Table, columns: Mapping[str, Sequence[str]]) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """Field -> indices of its columns, and the columns that the file does not have."""
    found: dict[str, tuple[int, ...]] = {}
    missing: list[str] = []
    for field, names in columns.items():
        places = [_place(table, name) for name in names]
        missing += [name for name, place in zip(names, places, strict=True) if place is None]
        found[field] = tuple(place for place in places if place is not None)
    return found, missing


def _place(table: Table, name: str) -> int | None:
    if re.fullmatch(r"#[1-9]\d{0,2}", name, re.ASCII):
        return int(name[1:]) - 1 if int(name[1:]) <= table.width else None
    return table.place(name)


def without_header(columns: Iterable[Sequence[str]]) -> bool:
    """True if every column is a number such as `#3`: the file has no header then."""
    return all(name.startswith("#") for names in columns for name in names)
