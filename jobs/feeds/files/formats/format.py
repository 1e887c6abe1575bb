"""A row of the table of formats, and the beginning of a file with which it is compared. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from jobs.feeds.files.formats.clock import LocalTimes, Times, times_of
from jobs.feeds.files.formats.columns import Table, places_of, splitter
from jobs.feeds.files.formats.model import Kind, Line, MissingColumns, Options, Origin, Recognised, ZoneMissing
from jobs.feeds.files.formats.names import ColumnNames, chosen_instrument, interval_in
from jobs.feeds.files.formats.notations import Notation
from jobs.feeds.files.formats.readers import Read, Shape, candles, quotes
from jobs.feeds.files.formats.zones import Zone, zone_of

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

    def fields(self, number: int = 0) -> list[str]:
        """The fields of a line, without blanks around them; none if there is no such line."""
        if number >= len(self.lines):
            return []
        try:
            return [field.strip() for field in splitter(self.table.delimiter)(self.lines[number][1].lstrip("\ufeff"))]
        except ValueError:
            return []


@dataclass(frozen=True, slots=True)
class Format:
    """A format: `fits` compares the beginning of a file, `recognise` makes the reader.

    `columns` are those of its header, for people; empty without a header. `fields` are those that
    its lines have. `recognise` raises `FileRefused`. `has_columns` is False if `--columns` cannot
    change it.
    """

    name: str
    vendor: str
    kind: Kind
    columns: str
    fields: tuple[str, ...]
    fits: Callable[[Head], bool]
    recognise: Callable[[Head], Recognised]
    has_columns: bool = True


@dataclass(frozen=True, slots=True)
class Layout:
    """A delimited file of a format.

    `places` are the indices of its fields, `needed` the fields that it must have. `joined` allows
    instruments without `_`. `width` is the number of fields; None if it varies.
    """

    name: str
    vendor: str
    kind: Kind
    places: Mapping[str, tuple[int, ...]]
    needed: Sequence[str]
    times: Callable[[], Times]
    zone: str
    header: bool = True
    width: int | None = None
    joined: bool = True


def recognised(
    head: Head,
    layout: Layout,
    *,
    interval: str | None = None,
    trades_known: bool | None = None,
    read: Callable[[Shape], Read] | None = None,
) -> Recognised:
    """The recognised file with the columns of `--columns`.

    `interval` is the format's own, if neither the option nor the file's name has one. `read` makes
    the reader, if it is not that of quotes or candles. Raises `FileRefused`.
    """
    options = head.options
    chosen, missing = places_of(head.table, options.columns)
    places = {field: indices for field, indices in {**layout.places, **chosen}.items() if indices}
    if missing := missing or [field for field in layout.needed if field not in places]:
        raise MissingColumns(head.lines[0], layout.name, missing)
    instrument, origin = instrument_of_file(head, in_column="instrument" in places, joined=layout.joined)
    shape = Shape(
        split=splitter(head.table.delimiter),
        places=places,
        times=layout.times,
        header=layout.header,
        width=layout.width,
        instrument=instrument,
        names=ColumnNames(head.instruments, joined=layout.joined),
        keep=options.instrument,
    )
    if read is None:
        read = quotes if layout.kind == "ticks" else candles
    return Recognised(
        format=layout.name,
        vendor=layout.vendor,
        kind=layout.kind,
        interval=None if layout.kind != "candles" else options.interval or interval_in(head.name) or interval,
        zone=layout.zone,
        instrument=instrument,
        origin=origin,
        trades_known="trades" in places if trades_known is None else trades_known,
        read=read(shape),
        header=layout.header,
    )


def instrument_of_file(head: Head, *, in_column: bool, joined: bool = True) -> tuple[str | None, Origin]:
    """The instrument of all records and the place of its name; None if a column has it.

    Raises `UnknownInstrument`.
    """
    if in_column:
        return None, "a column"
    return chosen_instrument(head.name, head.instruments, head.options, joined=joined)


def zone_for(head: Head, name: str, default: Zone | None, *, broker: bool = False) -> Zone:
    """The zone of the file's times: that of the option, else the format's. Raises `ZoneMissing`."""
    if head.options.timezone is not None:
        return zone_of(head.options.timezone)
    if default is None:
        raise ZoneMissing(name, broker=broker)
    return default


def clock(head: Head, zone: Zone, notations: Sequence[Notation] = (), *, unique: bool) -> Callable[[], Times]:
    """The times in one of the notations, without any in those of plain tables; `--date-format` has
    priority.

    Raises `BadOptionValue` for a bad value of that option.
    """
    if notations and head.options.date_format is None:
        return lambda: LocalTimes(notations, zone, unique=unique)
    times_of(head.options.date_format, zone, unique=unique)
    return lambda: times_of(head.options.date_format, zone, unique=unique)
