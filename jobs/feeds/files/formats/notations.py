"""Notations of dates and times in files, also those of `--date-format`. Pure.

A notation is a regular expression with the groups `minute` (date, hour and minute of a wall clock),
`second`, `fraction` and `offset`, and with a group for each part of the date.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from jobs.feeds.files.formats.model import AmbiguousDate, BadOptionValue

Groups = Mapping[str, str | None]

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH_NAMES = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_DAY_OR_MONTH_FIRST = re.compile(r"(\d\d?)[-./](\d\d?)[-./](?:\d{4}|\d\d)(?!\d)", re.ASCII)
_FIRST_YEAR_OF_1900S = 69  # of years with two digits, as in `strptime`
_DIRECTIVES = {
    "Y": r"(?P<year>\d{4})",
    "y": r"(?P<year>\d\d)",
    "m": r"(?P<month>\d\d?)",
    "b": rf"(?P<month>{'|'.join(MONTHS)})",
    "d": r"(?P<day>\d\d?)",
    "H": r"(?P<hour>\d\d?)",
    "M": r"(?P<clock_minute>\d\d?)",
    "S": r"(?P<second>[0-5]\d)",
    "f": r"(?P<fraction>\d{1,9})",
}


@dataclass(frozen=True, slots=True)
class Notation:
    """A way to write times; `match` is None for a text in another notation."""

    match: Callable[[str], re.Match[str] | None]


def local_minute(groups: Groups) -> datetime:
    """The minute of a wall clock (naive) that the groups of a match name.

    Raises `ValueError` if there is no such minute.
    """
    year, month = groups["year"] or "", groups["month"] or ""
    number = int(year)
    if len(year) == len("26"):
        number += 1900 if number >= _FIRST_YEAR_OF_1900S else 2000
    month_number = int(month) if month.isdigit() else MONTHS.index(month.lower()) + 1
    try:
        return datetime(number, month_number, int(groups["day"] or 0), int(groups.get("hour") or 0), int(groups.get("clock_minute") or 0))  # noqa: DTZ001 - a wall clock
    except ValueError as error:
        raise ValueError(f"{groups['minute']!r} is no time: {error}") from None


def refuse_ambiguous(text: str) -> None:
    """Raise `AmbiguousDate` for a date whose order of day and month is not certain."""
    found = _DAY_OR_MONTH_FIRST.match(text)
    if found is None:
        return
    first, second = int(found[1]), int(found[2])
    if first > 12 or second > 12:
        order = "dmy" if first > 12 else "mdy"
        raise AmbiguousDate(found[0], f"has the {'day' if first > 12 else 'month'} first: --date-format {order}")
    if first == second or not first or not second:
        raise AmbiguousDate(found[0], "may have the day or the month first: --date-format dmy or mdy")
    one, other = sorted((first, second))
    raise AmbiguousDate(found[0], f"may be {_MONTH_NAMES[one - 1]} or {_MONTH_NAMES[other - 1]}: --date-format dmy or mdy")


def _notation(date: str, *, compact: bool = False) -> Notation:
    """The notation of a date, optionally followed by a time of day and an offset."""
    colon, between, point = (":?", "[T ]?", "[.,]?") if compact else (":", "[Tt ]", "[.,]")
    clock = rf"(?:{between}(?P<hour>[01]\d|2[0-3]){colon}(?P<clock_minute>[0-5]\d))?"
    seconds = rf"(?:{colon}(?P<second>[0-5]\d)(?:{point}(?P<fraction>\d{{1,9}}))?)?"
    offset = r"(?: ?(?P<offset>[Zz]|(?:GMT|UTC)[+-]\d\d?:?(?:\d\d)?|[+-]\d\d:?\d\d|GMT|UTC))?"
    return Notation(re.compile(rf"(?P<minute>{date}{clock}){seconds}{offset}", re.ASCII).fullmatch)


_YEAR, _MONTH, _DAY = r"(?P<year>\d{4})", r"(?P<month>\d\d)", r"(?P<day>\d\d)"
_ANY_YEAR, _ANY_MONTH, _ANY_DAY = r"(?P<year>\d{4}|\d\d)", r"(?P<month>\d\d?)", r"(?P<day>\d\d?)"
ISO = _notation(f"{_YEAR}-{_MONTH}-{_DAY}")
COMPACT = _notation(f"{_YEAR}{_MONTH}{_DAY}", compact=True)
DOTS = _notation(rf"{_YEAR}\.{_MONTH}\.{_DAY}")
DOTS_DAY_FIRST = _notation(rf"{_DAY}\.{_MONTH}\.{_YEAR}")
_YMD = _notation(rf"{_YEAR}[-./]{_ANY_MONTH}[-./]{_ANY_DAY}")
_DMY = _notation(f"{_ANY_DAY}[-./]{_ANY_MONTH}[-./]{_ANY_YEAR}")
_MDY = _notation(f"{_ANY_MONTH}[-./]{_ANY_DAY}[-./]{_ANY_YEAR}")
# Values of `--date-format`; `iso` and `unix` have readers of their own.
NAMED = {"iso": (ISO,), "ymd": (_YMD, COMPACT), "dmy": (_DMY,), "mdy": (_MDY,)}
UNIX = "unix"


def notations_of(date_format: str) -> tuple[Notation, ...]:
    """The notations of a value of `--date-format`; none for `unix`.

    Raises `BadOptionValue`.
    """
    if date_format == UNIX:
        return ()
    return NAMED.get(date_format) or (_by_directives(date_format),)


def _by_directives(text: str) -> Notation:
    pattern, position = "", 0
    for found in re.finditer(r"%(.?)", text):
        if found[1] not in _DIRECTIVES:
            raise _bad_format(text, f"%{found[1]} is not known")
        pattern += re.escape(text[position : found.start()]) + _DIRECTIVES[found[1]]
        position = found.end()
    pattern += re.escape(text[position:])
    try:
        compiled = re.compile(rf"(?P<minute>{pattern})", re.ASCII | re.IGNORECASE)
    except re.error:
        raise _bad_format(text, "a part of the time is there twice") from None
    groups = compiled.groupindex
    if missing := [name for name in ("year", "month", "day") if name not in groups]:
        raise _bad_format(text, f"it has no {missing[0]}")
    return Notation(
        re.compile(
            compiled.pattern
            + "".join(f"(?P<{name}>(?!))?" for name in ("second", "fraction", "offset", "hour", "clock_minute") if name not in groups),
            re.ASCII | re.IGNORECASE,
        ).fullmatch
    )


def _bad_format(text: str, cause: str) -> BadOptionValue:
    return BadOptionValue(
        "--date-format", f"{text[:60]!r}: {cause}; use iso, unix, ymd, dmy, mdy, or %Y %y %m %d %b %H %M %S %f with literal characters"
    )
