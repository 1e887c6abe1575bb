"""Values of the formats of recorded files: options, the recognised file, records, refusals. Pure.

A recognised file is read by `Recognised.read`: numbered lines in, items out. An item is a place in
the file and a record, or the fault of a line or JSON candle that cannot be read. Values are read,
not checked: that is the work of `db.admission`. A fault that concerns the whole file is raised as
`FileRefused`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from db.messages import Trade

AUTO = "auto"
FORMATS_PAGE = "docs/import.md"

Kind = Literal["ticks", "candles", "trades"]
# Text of a name's part in a refusal: where an instrument's name comes from.
Origin = Literal["--instrument", "a column", "the file's name", "the file's content"]
Line: TypeAlias = tuple[int, str]  # number in the file, from 1, and text
Ohlc: TypeAlias = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a reading; None is the format's own value.

    `timezone` is an IANA name, `UTC`, or a name with a shift. `columns` maps fields to columns: a
    field may have two columns, which are joined with a space. `instrument` is that of all records;
    if the file has a column of instruments, it is the one to keep.
    """

    format: str = AUTO
    kind: Kind | None = None
    interval: str | None = None
    timezone: str | None = None
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    date_format: str | None = None
    instrument: str | None = None


class Quote(NamedTuple):
    """One quote. A tuple, because a file has millions.

    `time` is in contract form. Prices are texts as they are written, exponents as plain digits. A
    quote of one price has `bid` = `ask` = `mid`. `mid` and `volume` are None if the file has none;
    `db.decimals.halfway` computes the mid.
    """

    instrument: str
    time: str
    bid: str
    ask: str
    mid: str | None
    volume: str | None


class Candle(NamedTuple):
    """One candle; `start` is in contract form.

    A candle of one price has it in `mid`, and no `bid` and `ask`. `mid` is None if the file has bid
    and ask alone. `volume` and `trades` are None if the file has none. `interval` is None for that
    of the file. `complete` is False for a candle that has not ended by the file's own account.
    """

    instrument: str
    start: str
    mid: Ohlc | None
    bid: Ohlc | None
    ask: Ohlc | None
    volume: str | None = None
    trades: int | None = None
    complete: bool = True
    interval: str | None = None


Record: TypeAlias = Quote | Candle | Trade
# Place (number of the line or JSON candle, from 1), and the record or the fault.
Item: TypeAlias = tuple[int, Record | ValueError]


class LeftOut(ValueError):
    """An item that is no record and no fault: it is counted by its `kind`, not as bad."""

    kind = "left_out"


class NoPriceYet(LeftOut):
    """A line before both sides are known."""

    kind = "no_price_yet"

    def __init__(self) -> None:
        super().__init__("no price yet: bid or ask is unknown up to this line")


class PartOfMinute(LeftOut):
    """Trades of a minute that is not whole in the file."""

    kind = "part_of_minute"

    def __init__(self, start: str) -> None:
        super().__init__(f"the file may have a part of the minute {start} only")


@dataclass(frozen=True, slots=True)
class Recognised:
    """A file of a known format.

    `vendor` is the default of `--source`, stored as `import:NAME`. `interval` is None if only the
    records show it (`first_look.interval_of`), or if the items have their own. `zone` is the zone
    of the file's times, for the operator. `instrument` is that of all records; None if each record
    names its own, as in a column. `origin` is the place of that name. `unit` names an item.
    `trades_known` is True if candles have the number of their trades. `header` is True if the first
    line that is not blank is no record.

    `read` reads the file from its first line, each time anew. It raises `FileRefused` at a line
    that concerns the whole file.
    """

    format: str
    vendor: str
    kind: Kind
    interval: str | None
    zone: str
    instrument: str | None
    origin: Origin
    trades_known: bool
    read: Callable[[Iterable[Line]], Iterator[Item]]
    unit: str = "line"
    header: bool = False


class FileRefused(Exception):
    """A file that cannot be read. The text follows the file's name; it has cause and next step."""


class UnknownFormat(FileRefused):
    """No format fits; `nearest` has at most three names."""

    def __init__(self, line: Line, nearest: Mapping[str, str], proposal: str) -> None:
        """`nearest` maps names of formats to their columns, "" for those without a header."""
        self.nearest = tuple(nearest)
        names = ", ".join(f"{name} ({columns})" if columns else name for name, columns in nearest.items())
        near = f" Nearest: {names}." if names else ""
        super().__init__(
            f"no known format. Line {line[0]}: {shown(line[1])}.{near} Name the columns: --columns {proposal},…; formats: {FORMATS_PAGE}"
        )


class MissingColumns(FileRefused):
    """The chosen format, or `--columns`, names columns that the file does not have."""

    def __init__(self, line: Line, format_name: str, missing: Iterable[str]) -> None:
        self.missing = tuple(missing)
        super().__init__(
            f"no column {', '.join(self.missing)}, which {format_name} needs. Line {line[0]}: {shown(line[1])}."
            f" Name the columns: --columns FIELD=COLUMN,…; formats: {FORMATS_PAGE}"
        )


class ZoneMissing(FileRefused):
    """The file's times are local, and their zone is not known."""

    def __init__(self, format_name: str, *, broker: bool) -> None:
        if broker:
            times = "the broker's time"
            proposals = "America/New_York+07:00 (its midnight is 17:00 New York, as most brokers have it) or --timezone Europe/Athens"
        else:
            times, proposals = "local time", "ZONE, such as --timezone Europe/Zurich or --timezone UTC"
        super().__init__(f"{format_name} has {times}: add --timezone {proposals}")


class AmbiguousDate(FileRefused):
    """A date whose order of day and month is not known."""

    def __init__(self, text: str, cause: str, line_number: int | None = None) -> None:
        self._text = text
        self._cause = cause
        super().__init__(f"{'' if line_number is None else f'line {line_number}: '}{text[:120]!r} {cause}")

    def at(self, line_number: int) -> AmbiguousDate:
        """The same refusal with the number of its line."""
        return AmbiguousDate(self._text, self._cause, line_number)


class UnknownInstrument(FileRefused):
    """The instrument of all records does not exist; `name` is the one that was found, if any."""

    def __init__(self, name: str | None, origin: Origin, kind: str = "KIND") -> None:
        """`kind` is proposed for the new instrument."""
        self.name = name
        self.origin = origin
        if name is None:
            super().__init__("neither a column nor the file's name has an instrument. --instrument NAME")
        else:
            super().__init__(f"no instrument {name} (from {origin}). --instrument NAME, or manage.py instrument add {name} --kind {kind} …")


class NoInterval(FileRefused):
    """The interval of the candles is none of the six, or unknown."""


class MostlyBad(FileRefused):
    """More than half of the first records cannot be used; nothing is stored."""


class BadOptionValue(ValueError):
    """An option's value cannot be used; `option` is its name."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(message)
        self.option = option


def shown(line: str) -> str:
    """The first 120 characters of a line, in quotation marks."""
    return repr(line.strip("\r\n")[:120])
