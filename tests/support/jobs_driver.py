"""Run the hourly and the daily job for each hour and midnight of a span, in order.

`python -m tests.support.jobs_driver DATABASE_URL REDIS_URL START END`: after START, up to END. The
driver continues after the last success in `job_runs`. A driver that was killed and started again
MUST leave the same result as one that ran without a break.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta

from config import settings as settings_module
from db.bus import Bus
from db.job_runs import last_success
from db.postgres import Store
from db.timestamps import parse_time
from jobs.runtime.context import JobContext
from jobs.runtime.runs import run_once
from jobs.scheduler import TIMED
from jobs.store.queues import PriceQueue
from jobs.store.writer import BatchRule, Writer

HOUR = timedelta(hours=1)
LATE = timedelta(seconds=10)  # after the hour, by the driver's clock
# FX volatility is low: these thresholds cause episodes of each kind within two months.
THRESHOLDS = {
    "VOLATILITY_THRESHOLD": "0.0045",
    "VOLATILITY_CRITICAL": "0.006",
    "VOLATILITY_THRESHOLDS": "GBP_JPY=0.006/0.008",
    "CORRELATION_CHANGE_THRESHOLD": "0.03",
}


class Clock:
    """Ten seconds after the hour of the run."""

    def __init__(self, hour: datetime) -> None:
        self.hour = hour

    def __call__(self) -> datetime:
        return self.hour + LATE


def drive(database_url: str, redis_url: str, start: datetime, end: datetime) -> None:
    """Run the jobs that are due after `start`, up to `end`."""
    clock = Clock(start)
    config = settings_module.load({"DATABASE_URL": database_url, "REDIS_URL": redis_url, "SOURCES": "", **THRESHOLDS}, dotenv=None)
    store, bus = Store(database_url, application="jobs-driver"), Bus(redis_url, clock)
    work = JobContext(config, bus, store, clock)
    with store.transaction() as cursor:
        done = {name: last_success(cursor, name) or start for name in ("hourly_job", "daily_correlation_job")}
    writer, prices = Writer(bus, store, BatchRule(), PriceQueue(bus)), PriceQueue(bus)
    bus.open_group(prices.channel)
    writer.recover()
    clock.hour += HOUR
    while clock.hour <= end:
        for name in ("hourly_job", *(["daily_correlation_job"] if clock.hour.hour == 0 else [])):
            if clock.hour > done[name]:
                run_once(TIMED[name], work, clock.hour)
                writer.write_batch(prices.read(prices.most, 0))  # the prices that the run published: the next run waits for them
        clock.hour += HOUR


if __name__ == "__main__":
    drive(sys.argv[1], sys.argv[2], parse_time(sys.argv[3]), parse_time(sys.argv[4]))
