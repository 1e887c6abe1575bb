"""Times as text: UTC, ISO 8601, microseconds, `Z`. One format from the source to the client."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_DATE = r"\d{4}-\d\d-\d\d"
_CLOCK = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d"
_OFFSET = r"[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d"
USUAL_TIME = rf"{_DATE}T{_CLOCK}(?:\.\d{{1,9}})?Z"  # regular expression of the contract form and of feeds
_is_usual = re.compile(USUAL_TIME, re.ASCII).fullmatch
_is_time = re.compile(rf"{_DATE}(?:[Tt ]{_CLOCK}(?:\.\d{{1,9}})?(?:{_OFFSET})?)?", re.ASCII).fullmatch


def utc_now() -> datetime:
    """The clock of every process. Entry points pass it on; other code takes it as an argument."""
    return datetime.now(UTC)


def format_time(moment: datetime) -> str:
    """An aware datetime as `2025-11-18T12:34:56.789123Z`: the contract form."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat("T", "microseconds")[: -len("+00:00")] + "Z"


def parse_time(text: str) -> datetime:
    """Read a time; the result is in UTC.

    `YYYY-MM-DD`, optionally followed by `T`, `t` or a space and `HH:MM:SS`, 1 to 9 digits after a
    point, and `Z`, `z` or an offset `+HH:MM`. A date is midnight UTC. A time without an offset is
    UTC. Digits beyond microseconds are cut. Raises ValueError for any other text, and if the time
    is outside the years 1 to 9999 in UTC.
    """
    if _is_usual(text):
        return datetime.fromisoformat(text)
    if not _is_time(text):
        raise ValueError(f"{text[:40]!r} is not a time: use YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS, then optionally .digits and Z or +HH:MM")
    moment = datetime.fromisoformat(text.upper())
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{text!r} is outside the years 1 to 9999 in UTC") from None


def unix_time(text: str) -> float:
    """Read a time as seconds since 1970. Raises ValueError as `parse_time`.

    The contract form is read quickly: its second is usually the one of the call before.
    """
    if len(text) == 27 and text[19] == "." and text[26] == "Z" and (digits := text[20:26]).isdecimal() and digits.isascii():
        return _second(text[:19]) + int(digits) / 1_000_000
    return parse_time(text).timestamp()


@lru_cache(maxsize=64)
def _second(text: str) -> float:
    return parse_time(f"{text}Z").timestamp()


def time_before(moment: datetime, span: timedelta) -> datetime:
    """The time that is `span` before `moment`, at the earliest the begin of the year 1."""
    earliest = datetime.min.replace(tzinfo=UTC)
    return moment - span if moment - earliest > span else earliest


@lru_cache(maxsize=1024)
def day_exists(day: str) -> bool:
    """Return True if `YYYY-MM-DD`, the first ten characters of a time, is a day of the calendar."""
    try:
        parse_time(day)
    except ValueError:
        return False
    return True
