"""Days of `OBS_DAY_ZONE`: the moments of checkpoints. Pure."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo


def start_of(day: date, zone: ZoneInfo) -> datetime:
    """00:00 of the day in the zone, in UTC."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def day_of(moment: datetime, zone: ZoneInfo) -> date:
    """The day of the zone that contains the moment."""
    return moment.astimezone(zone).date()


def days_after(day: date, last: date) -> list[date]:
    """The days after `day`, up to and with `last`."""
    return [day + timedelta(days=number) for number in range(1, (last - day).days + 1)]
