"""Times of files in contract form: Unix times, and texts of a zone. Pure.

The first time of a file that can be read decides on its notation. Times in another notation are
faults of their lines.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from db.timestamps import format_time, parse_time
from jobs.feeds.files.formats.notations import COMPACT, DOTS, ISO, Groups, Notation, local_minute, notations_of, refuse_ambiguous
from jobs.feeds.files.formats.zones import Zone, offset_of

UNIX_WIDTHS = (10, 13, 16, 19)  # digits of seconds, ms, µs and ns
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_CACHED_MINUTES = 20_000
_DAY, _MINUTE = len("2026-03-02"), len("2026-03-02T09:00")


class Times:
    """The times of one reading of a file."""

    def parse(self, text: str, instrument: str) -> str:
        """A time in contract form.

        Raises `ValueError`, or `AmbiguousDate` if the order of day and month is not known.
        """
        raise NotImplementedError


class ContractTimes(Times):
    """Texts of `db.timestamps`, or Unix times of 10, 13, 16 or 19 digits: s, ms, µs or ns."""

    def __init__(self) -> None:
        self._digits: int | None = None  # of Unix times; 0: texts; None: no time was read yet

    def parse(self, text: str, instrument: str) -> str:
        digits = len(text) if text.isascii() and text.isdigit() else 0
        if self._digits is not None and digits != self._digits:
            raise ValueError(f"time {text[:40]!r} is not in the notation of the first time")
        moment = unix_time(text) if digits else format_time(parse_time(text))
        self._digits = digits
        return moment


class UnixTimes(Times):
    """Unix times of one width."""

    def __init__(self, widths: Sequence[int] = UNIX_WIDTHS) -> None:
        self._widths = widths

    def parse(self, text: str, instrument: str) -> str:
        if len(text) not in self._widths or not (text.isascii() and text.isdigit()):
            raise ValueError(f"{text[:40]!r} is not a Unix time of {' or '.join(map(str, self._widths))} digits")
        self._widths = (len(text),)
        return unix_time(text)


class LocalTimes(Times):
    """Texts in one of some notations, of a zone unless they have an offset.

    In an hour that occurs twice, the times of an instrument belong to the first one until they go
    back, then to the second. If `unique`, an equal time goes back too: starts of candles. In a file
    whose times fall, it is the other way round.
    """

    def __init__(self, notations: Sequence[Notation], zone: Zone, *, unique: bool = False) -> None:
        self._notations = notations
        self._zone = zone
        self._unique = unique
        self._minutes: dict[str, str | tuple[str, str]] = {}  # text -> its minute in UTC; both if it occurs twice
        self._previous = ""  # the last time in contract form
        self._twice: dict[str, tuple[str, bool]] = {}  # instrument -> last reading in an hour that occurs twice; True after going back
        self._falls = False

    def parse(self, text: str, instrument: str) -> str:
        found = self._notations[0].match(text)
        if found is None:
            found = self._first_match(text)
        minute, second, fraction, offset = found.group("minute", "second", "fraction", "offset")
        known = self._minutes.get(minute if offset is None else minute + offset)
        if known is None:
            known = self._minute(found.groupdict(), minute, offset)
        rest = f"{second or '00'}.{fraction or '0':0<6.6}Z"
        if isinstance(known, tuple):
            known = self._occurrence(known, rest, instrument)
        self._previous = known + rest
        return self._previous

    def _first_match(self, text: str) -> re.Match[str]:
        """The match of the notation of this file, which is chosen now if no time was read yet."""
        for notation in self._notations:
            if found := notation.match(text):
                self._notations = (notation,)
                return found
        raise ValueError(f"{text[:40]!r} is not a time in the notation of this file")

    def _minute(self, groups: Groups, minute: str, offset: str | None) -> str | tuple[str, str]:
        local = local_minute(groups)
        first, second = Zone(offset, UTC, offset_of(offset)).to_utc(local) if offset else self._zone.to_utc(local)
        if first.second:
            raise ValueError(f"the offset of {self._zone.name} at {minute!r} is no number of minutes")
        known = _prefix(first) if second is None else (_prefix(first), _prefix(second))
        if len(self._minutes) >= _MAX_CACHED_MINUTES:
            self._minutes.clear()
        self._minutes[minute if offset is None else minute + offset] = known
        return known

    def _occurrence(self, both: tuple[str, str], rest: str, instrument: str) -> str:
        """The minute in UTC of a reading in an hour that occurs twice."""
        first, second = both
        reading = first + rest
        last, back = self._twice.get(instrument, ("", False))
        if last[:_DAY] != first[:_DAY]:
            last, back = reading, False
            self._falls = self._previous > second + rest
        elif not back:
            back = reading > last if self._falls else reading < last
            back = back or (self._unique and reading == last)
        self._twice[instrument] = (reading, back)
        return second if back != self._falls else first


class AnyTimes(Times):
    """Unix times of any width, or texts that begin with the year: of a zone, or with an offset."""

    def __init__(self, zone: Zone, *, unique: bool = False) -> None:
        self._chosen: Times | None = None
        self._zone = zone
        self._unique = unique

    def parse(self, text: str, instrument: str) -> str:
        if self._chosen is not None:
            return self._chosen.parse(text, instrument)
        refuse_ambiguous(text)
        is_unix = len(text) in UNIX_WIDTHS and text.isascii() and text.isdigit()
        times = UnixTimes() if is_unix else LocalTimes((ISO, DOTS, COMPACT), self._zone, unique=self._unique)
        moment = times.parse(text, instrument)
        self._chosen = times
        return moment


def times_of(date_format: str | None, zone: Zone, *, unique: bool) -> Times:
    """The times that `--date-format` describes, or any. Raises `BadOptionValue`."""
    if date_format is None:
        return AnyTimes(zone, unique=unique)
    notations = notations_of(date_format)
    return LocalTimes(notations, zone, unique=unique) if notations else UnixTimes()


def unix_time(digits: str) -> str:
    """A Unix time in contract form; its unit follows from the number of digits.

    Digits beyond microseconds are cut.
    """
    if len(digits) not in UNIX_WIDTHS:
        raise ValueError(f"{digits[:40]!r} is neither a time nor a Unix time of 10, 13, 16 or 19 digits")
    return f"{_second(digits[:10])}{digits[10:16]:0<6}Z"


@lru_cache(maxsize=4096)
def _second(digits: str) -> str:
    return (_EPOCH + timedelta(seconds=int(digits))).strftime("%Y-%m-%dT%H:%M:%S.")


def _prefix(moment: datetime) -> str:
    return f"{moment.isoformat(timespec='minutes')[:_MINUTE]}:"
