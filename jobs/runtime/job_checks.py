"""The check of the timed jobs: the last run of each ended well, and none is overdue."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from config.secrets import scrub
from db.job_runs import last_endings
from db.postgres import Cursor

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger

_NEXT = timedelta(microseconds=1)


def failing_jobs(cursor: Cursor, triggers: Mapping[str, BaseTrigger], acting_since: datetime, now: datetime) -> dict[str, str]:
    """`job:NAME` -> reason, of the jobs that failed or are overdue by more than one period.

    `acting_since` is the time from which this process runs the jobs.
    """
    endings = last_endings(cursor)
    found: dict[str, str] = {}
    for job, trigger in triggers.items():
        ending = endings.get(job)
        if ending is not None and ending.outcome == "failed":
            found[f"job:{job}"] = scrub(f"the last run failed: {ending.error}")
        elif is_overdue(trigger, max(acting_since, ending.as_of) if ending else acting_since, now):
            found[f"job:{job}"] = "overdue by more than one period"
    return found


def is_overdue(trigger: BaseTrigger, done_to: datetime, now: datetime) -> bool:
    """Return True if the first run after `done_to` has been due for more than one period."""
    due: datetime | None = trigger.get_next_fire_time(None, done_to + _NEXT)
    if due is None:
        return False
    following: datetime | None = trigger.get_next_fire_time(due, due + _NEXT)
    return following is not None and now > following
