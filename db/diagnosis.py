"""Facts for `manage.py doctor` that no process reads: of the database, and of clocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

from db import migrate
from db.job_runs import JobState, job_states
from db.partitions import partitions_before
from db.postgres import Cursor, one, scalar
from db.timescaledb import FailedJob, extension_version, failed_jobs

CLOCK_SAMPLES = 3  # of which the one with the shortest round trip counts
# `reset_val` is the value that the server, the database or the role gives to a session.
_SERVER = """
SELECT current_setting('server_version'), (SELECT reset_val FROM pg_settings WHERE name = 'TimeZone'),
       current_setting('max_connections')::int
"""


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """Facts about the server and our database.

    `ahead_seconds` is the clock of the server minus that of this machine. `jobs` and
    `old_partitions` are empty if a migration is missing.
    """

    version: str
    time_zone: str
    max_connections: int
    ahead_seconds: float
    missing: list[str]  # migrations
    timescaledb: str | None  # its version
    failed_jobs: list[FailedJob]
    jobs: list[JobState]
    old_partitions: list[str]


def read_state(cursor: Cursor, now: Callable[[], float], oldest: Mapping[str, date]) -> DatabaseState:
    """Read the facts. `now` returns Unix seconds, `oldest` has the first day to keep by table."""
    cursor.execute(_SERVER)
    version, time_zone, max_connections = one(cursor)
    missing = migrate.unapplied(cursor)
    extension = extension_version(cursor)
    return DatabaseState(
        version=version.split()[0],
        time_zone=time_zone,
        max_connections=max_connections,
        ahead_seconds=best_offset(lambda: _clock(cursor), now),
        missing=missing,
        timescaledb=extension,
        failed_jobs=failed_jobs(cursor) if extension else [],
        jobs=[] if missing else job_states(cursor),
        old_partitions=[] if missing else [name for table, day in oldest.items() for name in partitions_before(cursor, table, day)],
    )


def _clock(cursor: Cursor) -> float:
    cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
    return float(scalar(cursor))


def best_offset(clock: Callable[[], float], now: Callable[[], float]) -> float:
    """Return the remote `clock` minus `now` in seconds, of the shortest round trip of some."""
    samples = []
    for _ in range(CLOCK_SAMPLES):
        before, began = now(), time.monotonic()
        found = clock()
        round_trip = time.monotonic() - began
        samples.append((round_trip, found - before - round_trip / 2))
    return min(samples)[1]
