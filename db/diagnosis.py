"""Facts for `manage.py doctor` that no process reads: of the database, and of a pooler."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import date

import psycopg2

from db import migrate
from db.bounded import LoginRefused, Unreached, bounded_cursor, connect
from db.job_runs import JobState, job_states
from db.partitions import partitions_before
from db.postgres import Cursor, StoreError, first_line, one, scalar, session_options
from db.timescaledb import FailedJob, extension_version, failed_jobs

CLOCK_SAMPLES = 3  # of which the one with the shortest round trip counts
_READS = 3  # of each connection of the probe, by turns
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


def shares_sessions(url: str, *, attempt_seconds: float, seconds: float) -> bool:
    """Return True if a setting of a session does not stay on its connection.

    A pooler in transaction mode gives both connections the same sessions by turns. Raises
    `StoreError`.
    """
    end = time.monotonic() + seconds
    with closing(connect(url, attempt_seconds, end)) as first, closing(connect(url, attempt_seconds, end)) as second:
        cursors = {secrets.token_hex(8): bounded_cursor(connection, end) for connection in (first, second)}
        try:
            for token, cursor in cursors.items():
                cursor.execute("SELECT set_config('tickwire.probe', %s, false)", (token,))
            found = [(token, _probe(cursor)) for _ in range(_READS) for token, cursor in cursors.items()]
            for cursor in cursors.values():
                cursor.execute("SELECT set_config('tickwire.probe', '', false)")
        except TimeoutError:
            raise Unreached(f"no answer within {seconds:g} s") from None
        except psycopg2.Error as error:
            raise StoreError(first_line(error)) from error
    return any(token != read for token, read in found)


def refusal(url: str, *, timeout_ms: int, attempt_seconds: float, seconds: float) -> str | None:
    """Return the text with which a pooler refuses the sessions of our processes, or None.

    Raises `Unreached`.
    """
    try:
        connect(url, attempt_seconds, time.monotonic() + seconds, options=session_options(timeout_ms)).close()
    except LoginRefused as error:
        return str(error)
    return None


def _probe(cursor: Cursor) -> str | None:
    cursor.execute("SELECT current_setting('tickwire.probe', true)")
    found: str | None = scalar(cursor)
    return found
