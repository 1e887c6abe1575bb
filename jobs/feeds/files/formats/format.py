"""A row of the table of formats, and the beginning of a file with which it is compared. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from jobs.feeds.files.formats.columns import Table
from jobs.feeds.files.formats.model import Kind, Line, Options, Origin, Recognised
from jobs.feeds.files.formats.names import chosen_instrument

HEAD_LINES = 20


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of a file: its name, and its first lines that are not blank (at least one).

    `table` is the shape that the first line has if it is a header.
    """

    name: str
    lines: tuple[Line, ...]
    table: Table
    instruments: Collection[str]
    options: Options

    @property
    def first(self) -> str:
        """The first line, without its end."""
        return self.lines[0][1].strip("\r\n\ufeff")


@dataclass(frozen=True, slots=True)
class Format:
    """A format: `fits` compares the beginning of a file, `recognise` makes the reader.

    `columns` are those of its header, for people; empty without a header. `recognise` raises
    `FileRefused`.
    """

    name: str
    vendor: str
    kind: Kind
    columns: str
    fits: Callable[[Head], bool]
    recognise: Callable[[Head], Recognised]


def instrument_of_file(head: Head, *, in_column: bool, joined: bool = True) -> tuple[str | None, Origin]:
    """The instrument of all records and the place of its name; None if a column has it.

    Raises `UnknownInstrument`.
    """
    if in_column:
        return None, "a column"
    return chosen_instrument(head.name, head.instruments, head.options, joined=joined)
