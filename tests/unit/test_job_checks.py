"""A timed job is overdue when its next run has been due for more than one period."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from apscheduler.triggers.cron import CronTrigger

from jobs.runtime.job_checks import is_overdue

HOURLY, DAILY = CronTrigger(minute=0, timezone=UTC), CronTrigger(hour=0, minute=5, timezone=UTC)
DONE = datetime(2025, 11, 18, 10, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("trigger", "done_to", "last_good"),
    [
        (HOURLY, DONE, datetime(2025, 11, 18, 12, tzinfo=UTC)),
        (HOURLY, DONE + timedelta(minutes=20), datetime(2025, 11, 18, 12, tzinfo=UTC)),
        (HOURLY, DONE - SECOND, datetime(2025, 11, 18, 11, tzinfo=UTC)),
        (DAILY, DONE, datetime(2025, 11, 20, 0, 5, tzinfo=UTC)),
        (DAILY, datetime(2025, 12, 30, 0, 5, tzinfo=UTC), datetime(2026, 1, 1, 0, 5, tzinfo=UTC)),
    ],
    ids=["hourly", "hourly-started-between", "hourly-before-the-hour", "daily", "daily-new-year"],
)
def test_job_is_overdue_after_the_second_missed_time(trigger: CronTrigger, done_to: datetime, last_good: datetime) -> None:
    assert [is_overdue(trigger, done_to, last_good + offset) for offset in (-SECOND, timedelta(0), SECOND)] == [False, False, True]
