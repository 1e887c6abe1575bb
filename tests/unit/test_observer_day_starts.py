"""Days of `OBS_DAY_ZONE` over the changes of the clock; expected times from the tz database."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from jobs.observer.fold.days import day_of, days_after, start_of

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("day", "start", "hours"),
    [
        (date(2025, 3, 29), "2025-03-28T23:00:00+00:00", 24),
        (date(2025, 3, 30), "2025-03-29T23:00:00+00:00", 23),
        (date(2025, 10, 26), "2025-10-25T22:00:00+00:00", 25),
        (date(2025, 10, 27), "2025-10-26T23:00:00+00:00", 24),
    ],
)
def test_day_begins_at_midnight_of_its_zone(day: date, start: str, hours: int) -> None:
    begin = start_of(day, BERLIN)
    (following,) = days_after(day, date.fromordinal(day.toordinal() + 1))
    assert begin == datetime.fromisoformat(start)
    assert (start_of(following, BERLIN) - begin).total_seconds() == hours * 3600
    assert day_of(begin, BERLIN) == day
    assert day_of(datetime.fromtimestamp(begin.timestamp() - 1e-6, UTC), BERLIN) < day
