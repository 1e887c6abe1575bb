"""Migrations, jobs and a restore on a server with TimescaleDB, if TIMESCALEDB_TEST_URL names one.

The URL is of a superuser. The tests create two databases there and drop them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import redis as redis_client

from db import migrate
from db.postgres import Store
from db.timestamps import utc_now
from ops.backup.save import Sources, save
from tests.conftest import Servers, until
from tests.support.up import Environment, manage

SERVER = os.environ.get("TIMESCALEDB_TEST_URL", "")
pytestmark = pytest.mark.skipif(not SERVER, reason="TIMESCALEDB_TEST_URL names no server")

PRICE = (
    "INSERT INTO prices (instrument, time, received, bid, ask, mid, source, epoch, seq)"
    " VALUES ('EUR_USD', now() - interval '40 days' + %s * interval '1 second', now(), 1, 1, 1, 'test', 'e', %s)"
)


@contextmanager
def connected(url: str) -> Iterator[Any]:
    """Yield a cursor that commits each statement."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


@contextmanager
def new_database(name: str) -> Iterator[str]:
    """Yield the URL of an empty database on the server."""
    with connected(SERVER) as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        cursor.execute(f"CREATE DATABASE {name}")
        yield SERVER.partition("?")[0].rsplit("/", 1)[0] + f"/{name}"
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def migrated() -> Iterator[str]:
    """A migrated database."""
    with new_database("tickwire_test_timescaledb") as url:
        migrate.apply(url)
        yield url


def test_tables_are_hypertables(migrated: str) -> None:
    with connected(migrated) as cursor:
        cursor.execute("SELECT hypertable_name FROM timescaledb_information.hypertables")
        assert {"prices", "raw_trades", "candles"} <= {name for (name,) in cursor.fetchall()}


def test_late_row_enters_a_compressed_chunk(migrated: str) -> None:
    with connected(migrated) as cursor:
        cursor.execute(PRICE, (1, 1))
        cursor.execute("SELECT compress_chunk(chunk, true) FROM show_chunks('prices') chunk")
        cursor.execute(PRICE, (2, 2))
        cursor.execute("SELECT seq FROM prices ORDER BY seq")
        assert cursor.fetchall() == [(1,), (2,)]


def test_every_background_job_succeeds(migrated: str) -> None:
    with connected(migrated) as cursor:
        cursor.execute("SELECT job_id FROM timescaledb_information.jobs WHERE hypertable_name IS NOT NULL")
        jobs = {job for (job,) in cursor.fetchall()}
        assert jobs
        for job in jobs:
            cursor.execute("SELECT alter_job(%s, next_start => now())", (job,))

        def states() -> dict[int, str]:
            cursor.execute("SELECT job_id, last_run_status FROM timescaledb_information.job_stats WHERE total_runs > 0")
            return {job: state for job, state in cursor.fetchall() if job in jobs and state}

        until(lambda: states().keys() >= jobs, 120, lambda: f"a run of each job: {states()}")
        assert set(states().values()) == {"Success"}


def test_restore_brings_the_rows_and_the_hypertables(
    migrated: str, servers: Servers, raw_redis: redis_client.Redis, tmp_path: Path
) -> None:
    sources = Sources(migrated, migrated, servers.redis_url, None, embedded=False)
    manifest = save(sources, tmp_path / "saved", "dump", utc_now, lambda text: None)
    assert manifest.timescaledb
    with ExitStack() as stack:
        url = stack.enter_context(new_database("tickwire_test_restored"))
        environment = Environment(tmp_path / "var")
        environment.update(DATABASE_URL=url, REDIS_URL=servers.operator_url)
        done = manage(environment, "restore", str(tmp_path / "saved"), "--yes")
        assert done.returncode == 0, done.stderr
        store = stack.enter_context(closing(Store(url)))
        with store.transaction() as cursor:
            cursor.execute("SELECT count(*) FROM prices")
            assert cursor.fetchall() == [(manifest.rows["prices"],)]
            cursor.execute("SELECT count(*) FROM timescaledb_information.hypertables WHERE hypertable_name = 'prices'")
            assert cursor.fetchall() == [(1,)]
