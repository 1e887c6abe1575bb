"""Times of files: notations, zones and clock changes. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from db.timestamps import format_time, parse_time

_UNIX_UNITS = {10: 1_000_000, 13: 1_000, 16: 1}  # digits -> microseconds per unit; 19 digits are nanoseconds
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class IsoTimes:
    """Texts of `db.timestamps`, or Unix times of 10, 13, 16 or 19 digits: s, ms, µs or ns.

    The first time that can be read decides which of them the file has.
    """

    def __init__(self) -> None:
        self._digits: int | None = None  # of Unix times; 0: texts; None: no time was read yet

    def parse(self, text: str, instrument: str = "") -> str:
        """The time in contract form. Raises `ValueError` for another notation than the first."""
        digits = len(text) if text.isascii() and text.isdigit() else 0
        if self._digits is not None and digits != self._digits:
            raise ValueError(f"time {text[:40]!r} is not in the notation of the first time")
        moment = unix_time(text) if digits else format_time(parse_time(text))
        self._digits = digits
        return moment


def unix_time(digits: str) -> str:
    """A Unix time in contract form; its unit follows from the number of digits.

    Digits beyond microseconds are cut.
    """
    if len(digits) == 19:
        digits = digits[:16]
    if len(digits) not in _UNIX_UNITS:
        raise ValueError(f"{digits[:40]!r} is neither a time nor a Unix time of 10, 13, 16 or 19 digits")
    return f"{_second(digits[:10])}{digits[10:]:0<6}Z"


@lru_cache(maxsize=4096)
def _second(digits: str) -> str:
    return (_EPOCH + timedelta(seconds=int(digits))).strftime("%Y-%m-%dT%H:%M:%S.")
