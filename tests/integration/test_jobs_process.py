"""Jobs processes: two share the duties, failures are retried; and `manage.py job` beside them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import redis as redis_client
from click.testing import CliRunner

import cli.timed_jobs
import manage as manage_py
from config.settings import Settings
from db import topics
from db.bus import Bus
from db.calendars import trading_hours
from db.job_runs import job_states, write_jobs
from db.postgres import Store
from db.timestamps import format_time
from jobs.scheduler import JOBS
from tests.conftest import until
from tests.support.clients import PythonClient
from tests.support.duties import is_shared
from tests.support.failing_jobs import FAULTS
from tests.support.processes import ROOT, Running, Web, environ_of, jobs
from tests.support.store import HOUR, candle, select
from tests.support.store import put_candles as put

DUTIES = ["source:synthetic", "write:0", "roll_up", "publish_alerts", "timed"]
FAST = {"SOURCES": "synthetic", "INGESTION_INTERVAL_SECONDS": "0.2", "SYNTHETIC_SEED": "7"}


def sessions(settings: Settings) -> int:
    """Return the number of sessions with a lock."""
    connection = psycopg2.connect(str(settings.database_url).rsplit("/", 1)[0] + "/postgres")
    try:
        cursor = connection.cursor()
        cursor.execute(
            "SELECT count(DISTINCT pid) FROM pg_stat_activity JOIN pg_locks USING (pid) WHERE application_name = 'tickwire-duties'"
            " AND locktype = 'advisory' AND granted"
        )
        return int(cursor.fetchall()[0][0])
    finally:
        connection.close()


def end_sessions(settings: Settings) -> None:
    connection = psycopg2.connect(str(settings.database_url).rsplit("/", 1)[0] + "/postgres")
    cursor = connection.cursor()
    cursor.execute("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'tickwire-duties'")
    connection.close()


def outcomes(store: Store) -> dict[str, str | None]:
    """Return job -> outcome of its last run, as in `GET /jobs`."""
    with store.transaction() as cursor:
        return {state.id: state.last_run.outcome if state.last_run else None for state in job_states(cursor)}


def prices(bus: Bus) -> dict[str, list[int]]:
    """Return instrument -> every `seq`, oldest first."""
    found: dict[str, list[int]] = {}
    for entry in bus.backwards(topics.PRICES):
        found.setdefault(entry.topic, []).insert(0, entry.seq)
    return found


def flows(bus: Bus) -> None:
    """Wait for two more prices of an instrument."""
    before = len(prices(bus).get("EUR_USD", []))
    until(lambda: len(prices(bus).get("EUR_USD", [])) >= before + 2, 60, "more prices")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_processes_share_the_duties(settings: Settings, store: Store, bus: Bus, tmp_path: Path) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(jobs(settings, tmp_path / "first.log", **FAST))
        until(lambda: is_shared(bus, DUTIES, 1), 60, "all duties of the first one")
        second = stack.enter_context(jobs(settings, tmp_path / "second.log", **FAST))
        until(lambda: is_shared(bus, DUTIES, 2), 60, "an even share")

        await_first_figures(store)
        flows(bus)
        first.kill(signal.SIGKILL)
        until(lambda: is_shared(bus, DUTIES, 1), 60, "all duties of the second one")
        flows(bus)

        first.start()
        until(lambda: is_shared(bus, DUTIES, 2), 60, "an even share")
        for _ in range(2):
            end_sessions(settings)
            until(lambda: sessions(settings) == 2 and is_shared(bus, DUTIES, 2), 60, "an even share of new sessions")
            flows(bus)

        assert first.ask_to_stop() == 0
        until(lambda: is_shared(bus, DUTIES, 1), 60, "all duties of the second one")
        flows(bus)
        assert second.ask_to_stop() == 0
    assert all(seqs == list(range(1, len(seqs) + 1)) for seqs in prices(bus).values()), "no number is missing, none is there twice"
    assert bus.unstored() == 0
    assert select(store, "SELECT count(*) FROM prices")[0][0] == sum(map(len, prices(bus).values()))
    assert {each for _, each in select(store, "SELECT job, outcome FROM job_runs")} <= {"succeeded", "failed", "abandoned"}


def await_first_figures(store: Store) -> None:
    """Wait for the first runs: every open instrument has a volatility, every pair a correlation.

    The figures are those of the last run: an hour or a day may end meanwhile.
    """
    timed = ("hourly_job", "daily_correlation_job", "retention")
    until(lambda: all(outcomes(store).get(name) == "succeeded" for name in timed), 60, "the first runs")
    ((as_of,),) = select(store, "SELECT max(time) FROM volatility")
    kinds = select(store, "SELECT kind, count(*) FROM instruments GROUP BY kind")
    expected = sum(count for kind, count in kinds if trading_hours(kind, as_of - timedelta(hours=1), as_of))
    assert select(store, f"SELECT count(DISTINCT symbol) FROM volatility WHERE time = '{format_time(as_of)}'") == [(expected,)]  # noqa: S608
    assert expected in (6, 11, 26, 31)
    pairs = (
        "SELECT count(*) FROM correlations WHERE method = 'pearson' AND correlation IS NOT NULL"
        " AND time = (SELECT max(time) FROM correlations)"
    )
    assert select(store, pairs) == [(31 * 30 // 2,)]
    assert outcomes(store).keys() == {job.id for job in JOBS}


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_failing_job_is_retried_and_stops_no_other(settings: Settings, store: Store, bus: Bus, tmp_path: Path) -> None:
    rename(store, "volatility", "mislaid")
    with jobs(settings, tmp_path / "jobs.log", **FAST) as process:
        until(lambda: outcomes(store).get("hourly_job") == "failed", 60, "the failure told")
        until(lambda: outcomes(store).get("daily_correlation_job") == "succeeded", 60, "the other jobs done")
        flows(bus)
        with store.transaction() as cursor:
            state = next(state for state in job_states(cursor) if state.id == "hourly_job")
        assert state.last_run is not None
        assert state.last_run.error == 'UndefinedTable: relation "volatility" does not exist'
        assert state.next_run is not None
        assert "Traceback" in process.output()
        rename(store, "mislaid", "volatility")
        until(lambda: outcomes(store).get("hourly_job") == "succeeded", 60, "the next attempt")
        assert process.ask_to_stop() == 0


def rename(store: Store, name: str, to: str) -> None:
    with store.transaction() as cursor:
        cursor.execute(f"ALTER TABLE {name} RENAME TO {to}")


# `manage.py job`


Manage = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def manage(settings: Settings) -> Manage:
    """Run `manage.py job …` on the servers of the test, with no other process of ours."""

    def run(*arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        environ = {"PATH": "/usr/bin:/bin", **environ_of(settings), "LOG_LEVEL": "ERROR", **extra}
        argv = [sys.executable, "manage.py", "job", *arguments]
        return subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)

    return run


@pytest.fixture
def last_hour(store: Store, raw_redis: redis_client.Redis) -> datetime:
    """Return an hour that has ended; store 40 candles up to it, volatile ones of BTCUSDT only.

    Both instruments trade on every day of the week.
    """
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - HOUR
    closes = [("1.1", "1.2"), ("1.2", "1.1")] * 20
    put(store, [candle("BTCUSDT", hour - (40 - number) * HOUR, (one, "1.2", "1.1", two)) for number, (one, two) in enumerate(closes)])
    put(store, [candle("ETHUSDT", hour - (40 - number) * HOUR, ("1.3", "1.3", "1.3", "1.3")) for number in range(40)])
    return hour


@pytest.mark.slow
def test_subscriber_receives_the_messages_of_a_run_by_hand(
    settings: Settings, manage: Manage, bus: Bus, last_hour: datetime, tmp_path: Path
) -> None:
    as_of = format_time(last_hour)
    with Web("hub", settings, tmp_path / "hub.log") as hub, PythonClient(hub.url) as client:
        client.call("subscribe", {"pairs": ["BTCUSDT"]})
        done = manage("run", "hourly_job", "--as-of", as_of)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"hourly_job for {as_of}: 14 rows in ")
        ready = [client.wait("data_ready", number) for number in (1, 2)]
        assert [(each["data_type"], each["as_of"]) for each in ready] == [("hourly_candles", as_of), ("volatility", as_of)]
        alert = client.wait("volatility_alert")
        assert (alert["instrument"], alert["severity"], alert["threshold"]) == ("BTCUSDT", "critical", 0.04)
        price = client.wait("price_update")
        assert (price["instrument"], price["price"]["mid"], price["price"]["time"]) == ("BTCUSDT", "1.1", as_of)
        with jobs(settings, tmp_path / "jobs.log") as process:  # stores the published prices and runs the due jobs
            until(lambda: bus.unstored() == 0, 60)
            assert manage("run", "hourly_job", "--as-of", as_of).returncode == 0
            client.wait("data_ready", 4)
            assert process.ask_to_stop() == 0
        client.call("request_all_prices")  # earlier messages have arrived before its answer
        assert [each["timestamp"] for each in client.bodies("volatility_alert")] == [alert["timestamp"]]
        assert len([each for each in client.bodies("price_update") if each["price"]["time"] == as_of]) == 1


@pytest.mark.slow
def test_run_by_hand_is_in_the_table(manage: Manage, store: Store, last_hour: datetime) -> None:
    assert "daily_correlation_job" in manage("list").stdout
    assert manage("run", "hourly_job").returncode == 0
    assert manage("run", "daily_correlation_job").returncode == 0
    runs: list[Any] = select(store, "SELECT job, outcome FROM job_runs ORDER BY id")
    assert runs == [("hourly_job", "succeeded"), ("daily_correlation_job", "succeeded")]
    with store.transaction() as cursor:
        write_jobs(cursor, [("hourly_job", "every hour at :00", last_hour)], last_hour)
    (line,) = [line for line in manage("list").stdout.splitlines() if "hourly_job" in line]
    assert "every hour at :00" in line
    assert "succeeded" in line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "nope"), "'hourly_job', 'daily_correlation_job', 'retention'"),
        (("run", "ingest"), "'hourly_job', 'daily_correlation_job', 'retention'"),
        (("run", "hourly_job", "--as-of", "2021-09-15T12:17:00"), "2021-09-15T12:00:00.000000Z was the last before that"),
        (("run", "daily_correlation_job", "--as-of", "2021-09-15T12:00:00"), "every day at 00:00"),
        (("run", "hourly_job", "--as-of", "2121-09-15"), "yet to come"),
        (("run", "hourly_job", "--as-of", "noon"), "is not a time"),
    ],
)
def test_impossible_run_is_refused_with_a_sentence(
    settings: Settings, arguments: tuple[str, ...], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli.timed_jobs, "chosen_settings", lambda service: settings)
    done = CliRunner().invoke(manage_py.cli, ("job", *arguments))
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.split())
    assert isinstance(done.exception, SystemExit)


def test_failing_run_by_hand_prints_its_error(manage: Manage, store: Store, last_hour: datetime) -> None:
    rename(store, "volatility", "mislaid")
    done = manage("run", "hourly_job", "--as-of", format_time(last_hour), LOG_LEVEL="CRITICAL")
    assert done.returncode == 1
    assert 'failed: UndefinedTable: relation "volatility" does not exist' in done.stderr
    assert select(store, "SELECT outcome FROM job_runs") == [("failed",)]
    for name, url in (("DATABASE_URL", "postgresql://127.0.0.1:1/x"), ("REDIS_URL", "redis://127.0.0.1:1/0")):
        done = manage("run", "hourly_job", LOG_LEVEL="CRITICAL", **{name: url})
        assert done.returncode == 1
        assert done.stderr.startswith("Error: ")
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("fault", FAULTS)
def test_jobs_process_ends_with_an_error_if_a_long_lived_thread_ends(settings: Settings, tmp_path: Path, fault: str) -> None:
    nowhere = "http://127.0.0.1:9"  # an unreachable history: its gap filler retries
    environ = {
        **environ_of(settings),
        **FAST,
        "SOURCES": "binance",
        "BINANCE_WS_URL": "ws://127.0.0.1:9",
        "BINANCE_REST_URL": nowhere,
    }
    with Running([sys.executable, "-m", "tests.support.failing_jobs", fault], environ, tmp_path / "jobs.log") as process:
        assert process.popen is not None
        assert process.popen.wait(60) == 70, process.output()[-3000:]
    errors = [json.loads(line) for line in process.output().splitlines() if line.startswith("{") and '"ERROR"' in line]
    assert [error["message"] for error in errors if "the process ends" in error["message"]], process.output()[-3000:]
    assert sessions(settings) == 0
