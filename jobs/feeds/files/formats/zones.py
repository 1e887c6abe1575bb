"""Zones of local times: names, shifts, and the two changes of a clock. Pure.

Zone rules come from `zoneinfo`. A shift is added after the zone's rules: `America/New_York+07:00`
is New York's wall clock plus 7 h.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from jobs.feeds.files.formats.model import BadOptionValue

_SHIFTED = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9_+/-]*?)(?P<shift>[+-](?:0\d|1[0-4]):[0-5]\d)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone of local times; `name` is its notation for the operator."""

    name: str
    rules: tzinfo
    shift: timedelta = timedelta()

    def to_utc(self, local: datetime) -> tuple[datetime, datetime | None]:
        """The time in UTC of a wall clock's reading (naive); the second one if it occurs twice.

        Raises `ValueError` for a reading that a clock change skips, and outside the years 1 to
        9999.
        """
        try:
            unshifted = local - self.shift
            first, second = (unshifted.replace(tzinfo=self.rules, fold=fold).utcoffset() or timedelta() for fold in (0, 1))
            if first < second:
                raise ValueError(f"{local:%Y-%m-%d %H:%M} does not exist in {self.name}: a clock change skips it")
            moment = (unshifted - first).replace(tzinfo=UTC)
            return moment, None if first == second else (unshifted - second).replace(tzinfo=UTC)
        except OverflowError:
            raise ValueError(f"{local.isoformat()} is outside the years 1 to 9999 in UTC") from None


UTC_ZONE = Zone("UTC", UTC)


def zone_of(text: str) -> Zone:
    """Read the value of `--timezone`: an IANA name, `UTC`, or a name with a shift.

    Raises `BadOptionValue`.
    """
    found = _SHIFTED.fullmatch(text)
    if found is None:
        raise _bad_zone(text)
    name, shift = found["name"], found["shift"]
    try:
        rules: tzinfo = UTC if name.upper() == "UTC" else ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise _bad_zone(text) from None
    hours, minutes = shift.split(":") if shift else ("0", "0")
    distance = timedelta(hours=abs(int(hours)), minutes=int(minutes))
    return Zone(text, rules, -distance if hours.startswith("-") else distance)


def _bad_zone(text: str) -> BadOptionValue:
    return BadOptionValue(
        "--timezone", f"{text[:60]!r} is no zone: use an IANA name (Europe/Athens), UTC, or a name with a shift (America/New_York+07:00)"
    )


def offset_of(text: str) -> timedelta:
    """The distance from UTC of `Z`, `GMT`, `+0100`, `-05:00`, `GMT+0100`."""
    digits = text.upper().removeprefix("GMT").removeprefix("UTC").replace(":", "")
    if digits in ("", "Z"):
        return timedelta()
    distance = timedelta(hours=int(digits[1:3]), minutes=int(digits[3:] or 0))
    if distance >= timedelta(hours=24):
        raise ValueError(f"{text!r} is no offset from UTC")
    return -distance if digits.startswith("-") else distance
