"""The table of jobs: names and schedules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jobs.runtime.runs import due_before
from jobs.scheduler import JOBS, TIMED

NOW = datetime(2025, 3, 30, 1, 17, tzinfo=UTC)  # the night of a clock change in Europe; UTC has none
DUE = {
    "hourly_job": (datetime(2025, 3, 30, 1, tzinfo=UTC), timedelta(hours=1)),
    "daily_correlation_job": (datetime(2025, 3, 30, tzinfo=UTC), timedelta(days=1)),
    "retention": (datetime(2025, 3, 30, 0, 5, tzinfo=UTC), timedelta(days=1)),
}


def test_job_names_are_unique() -> None:
    assert len({job.id for job in JOBS}) == len(JOBS)
    assert DUE.keys() == TIMED.keys()


@pytest.mark.parametrize("name", DUE)
def test_timed_job_is_due_as_its_schedule_states(name: str) -> None:
    last, period = DUE[name]
    for number in range(30):
        assert due_before(TIMED[name].trigger, NOW + number * period) == last + number * period


@pytest.mark.parametrize("name", DUE)
def test_late_run_starts_unless_a_newer_one_is_due(name: str) -> None:
    assert timedelta(seconds=TIMED[name].grace_seconds) == DUE[name][1]
