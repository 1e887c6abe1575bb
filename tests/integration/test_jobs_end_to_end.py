"""Jobs over a month of real hours: a run with two kills leaves the rows of a quiet one."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import psycopg2
import pytest
import redis as redis_client

from db import topics
from db.bus import Bus
from db.postgres import Store
from db.timestamps import format_time
from tests.conftest import Servers, until
from tests.support.oracles import fx_volatility
from tests.support.processes import ROOT
from tests.support.recordings import recorded
from tests.support.servers import of_database
from tests.support.store import HOUR, select
from tests.support.store import put_candles as put

PAIRS = ("EUR_GBP", "EUR_USD", "GBP_JPY", "GBP_USD", "NZD_USD", "USD_JPY")
START = datetime(2021, 8, 1, tzinfo=UTC)
BEFORE = timedelta(days=31)  # of stored candles, for the longest window
DAYS = 30
RUNS = DAYS * 25  # hourly ones, and one a day
END = START + timedelta(days=DAYS)
TABLES = {
    "volatility": "SELECT * FROM volatility ORDER BY symbol, estimator, time",
    "correlations": "SELECT * FROM correlations ORDER BY time, method, symbol1, symbol2",
    "alerts": "SELECT type, symbol, symbol2, severity, time, value, previous, threshold, message, published IS NOT NULL FROM alerts"
    " ORDER BY type, time, symbol, symbol2, severity",
    "alert_episodes": "SELECT * FROM alert_episodes ORDER BY type, symbol, symbol2",
    "prices": "SELECT instrument, time, bid, ask, mid, source FROM prices ORDER BY instrument, time, seq",
}


@dataclass(frozen=True, slots=True)
class Deployment:
    """A database with candles, and a bus; a driver process runs the jobs on them."""

    database_url: str
    redis_url: str
    store: Store
    bus: Bus

    def drive(self) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "tests.support.jobs_driver", self.database_url, self.redis_url, format_time(START), format_time(END)]
        return subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def runs(self) -> int:
        return int(select(self.store, "SELECT count(*) FROM job_runs")[0][0])

    def rows(self, table: str) -> list[Any]:
        return select(self.store, TABLES[table])

    def published(self, channel: str) -> list[dict[str, Any]]:
        """Return the published bodies without the epoch of the bus."""
        bodies = [orjson.loads(entry.body) for entry in self.bus.backwards(channel)][::-1]
        return [{name: value for name, value in body.items() if name != "epoch"} for body in bodies]


@pytest.fixture
def deployments(
    servers: Servers, database_url: str, raw_redis: redis_client.Redis, clock: Callable[[], datetime]
) -> Iterator[list[Deployment]]:
    """Two equal ones."""
    found, second = [], database_url + "_again"
    on_server(database_url, f"CREATE DATABASE {second.rsplit('/', 1)[1]} TEMPLATE tickwire")
    for number, url in enumerate((database_url, second)):
        # This test does not kill PostgreSQL, so commits need not wait for the disk.
        on_server(database_url, f"ALTER DATABASE {url.rsplit('/', 1)[1]} SET synchronous_commit = off")
        redis_url = of_database(servers.redis_url, number)
        found.append(Deployment(url, redis_url, Store(url), Bus(redis_url, clock)))
        put(found[-1].store, recorded(PAIRS, START - BEFORE, END))
    yield found
    for each in found:
        each.store.close()
        each.bus.close()
    on_server(database_url, f"DROP DATABASE {second.rsplit('/', 1)[1]} WITH (FORCE)")


def on_server(url: str, statement: str) -> None:
    connection = psycopg2.connect(url.rsplit("/", 1)[0] + "/postgres")
    connection.autocommit = True
    connection.cursor().execute(statement)
    connection.close()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_kills_during_the_jobs_change_no_result(deployments: list[Deployment]) -> None:
    calm, killed = deployments
    undisturbed, driver = calm.drive(), killed.drive()
    try:
        for share in (1 / 3, 2 / 3):
            until(lambda share=share: killed.runs() > share * RUNS, 180, "a part of the way")  # type: ignore[misc]
            # At a random moment of a run.
            assert still_runs_after(random.uniform(0, 0.05), driver)
            driver.send_signal(signal.SIGKILL)
            driver.wait(60)
            driver = killed.drive()
        assert driver.wait(180) == 0
        assert undisturbed.wait(180) == 0
    finally:
        for process in (undisturbed, driver):
            process.kill()
            process.wait(60)
    compare(calm, killed)
    check_runs(calm, killed)
    check_figures(calm)


def still_runs_after(seconds: float, driver: subprocess.Popen[bytes]) -> bool:
    """Return True if the driver still runs after so long."""
    try:
        driver.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def compare(calm: Deployment, killed: Deployment) -> None:
    for table in TABLES:
        assert killed.rows(table) == calm.rows(table), table
    for channel in (topics.VOLATILITY_ALERTS, topics.CORRELATION_ALERTS, topics.PRICES):
        assert killed.published(channel) == calm.published(channel), channel
    alerts = Counter((row[0], row[3]) for row in calm.rows("alerts"))
    assert len(alerts) == 4, f"of both types and severities: {alerts}"
    assert sum(alerts.values()) == len(calm.published(topics.VOLATILITY_ALERTS)) + len(calm.published(topics.CORRELATION_ALERTS))
    assert all(row[-1] for row in calm.rows("alerts")), "every alert is published"


def check_runs(calm: Deployment, killed: Deployment) -> None:
    outcomes = "SELECT job, outcome, count(*) FROM job_runs GROUP BY job, outcome ORDER BY job"
    whole = [("daily_correlation_job", "succeeded", DAYS), ("hourly_job", "succeeded", DAYS * 24)]
    assert select(calm.store, outcomes) == whole
    finished = [row for row in select(killed.store, outcomes) if row[1] == "succeeded"]
    assert finished == whole
    assert sum(row[2] for row in select(killed.store, outcomes)) <= RUNS + 2
    ready = Counter((each["data_type"], each["as_of"]) for each in killed.published(topics.DATA_READY))
    assert ready.keys() == {(each["data_type"], each["as_of"]) for each in calm.published(topics.DATA_READY)}
    assert sum(ready.values()) <= len(ready) + 4, "only the killed runs publish it again"


def check_figures(calm: Deployment) -> None:
    """Compare a day of the undisturbed run with pandas."""
    rows = recorded(PAIRS, START - BEFORE, END)
    for hour in range(12, 36):
        as_of = START + timedelta(days=15) + hour * HOUR
        found = select(calm.store, "SELECT symbol, estimator, volatility FROM volatility WHERE time = %s", as_of)
        expected = {key: figures[0] for key, figures in fx_volatility(rows, as_of).items()}
        assert {(row[0], row[1]): row[2] for row in found} == pytest.approx(expected, rel=1e-9)
