"""/jobs: the runs that the scheduler stored, without a secret."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from config import settings as settings_module
from config.settings import Settings
from db.bus import Bus
from db.job_runs import begin_run, end_run, write_jobs
from db.postgres import Store
from db.timestamps import format_time
from tests.support.listings import get
from tests.support.registry import put_report

FIRST = datetime(2024, 2, 29, 20, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SOON = FIRST + HOUR
JOBS = [("ingest", "always", None), ("hourly_job", "hourly", SOON), ("retention", "daily", SOON), ("fresh", "daily", SOON)]


@pytest.fixture
def client(settings: Settings, bus: Bus, store: Store, clock: Callable[[], datetime]) -> FlaskClient:
    return create_app(settings, bus, store, clock, "1.2.3").test_client()


def test_jobs_lists_each_job_with_its_runs(client: FlaskClient, store: Store) -> None:
    with store.transaction() as cursor:
        write_jobs(cursor, [("gone", "never", None), ("hourly_job", "every hour at :00", SOON)], FIRST)
        write_jobs(cursor, JOBS, FIRST)
        end_run(cursor, begin_run(cursor, "hourly_job", FIRST - HOUR, FIRST - HOUR), FIRST - HOUR, error="ValueError: an older run")
        end_run(cursor, begin_run(cursor, "hourly_job", FIRST, FIRST), FIRST + timedelta(seconds=1, milliseconds=250), rows=196)
        begin_run(cursor, "retention", FIRST - DAY, FIRST)
    body = get(client, "/jobs")
    assert list(body) == ["jobs", "count", "duties", "timestamp"]
    assert body["duties"] == []
    assert body["count"] == 4
    assert body["jobs"] == [
        {"id": "fresh", "schedule": "daily", "next_run": format_time(SOON), "last_run": None},
        {
            "id": "hourly_job",
            "schedule": "hourly",
            "next_run": format_time(SOON),
            "last_run": {
                "as_of": format_time(FIRST),
                "started": format_time(FIRST),
                "finished": format_time(FIRST + timedelta(seconds=1, milliseconds=250)),
                "duration_seconds": 1.25,
                "outcome": "succeeded",
                "rows": 196,
                "error": None,
            },
        },
        {"id": "ingest", "schedule": "always", "next_run": None, "last_run": None},
        {
            "id": "retention",
            "schedule": "daily",
            "next_run": format_time(SOON),
            "last_run": {
                "as_of": format_time(FIRST - DAY),
                "started": format_time(FIRST),
                "finished": None,
                "duration_seconds": None,
                "outcome": "running",
                "rows": None,
                "error": None,
            },
        },
    ]


def test_error_of_a_failed_job_reveals_no_secret(settings: Settings, bus: Bus, store: Store, clock: Callable[[], datetime]) -> None:
    environ = {
        "DATABASE_URL": "postgresql://hub:opensesame@db/hub",
        "REDIS_URL": "redis://:swordfish@cache/0",
        "OANDA_API_TOKEN": "f00dcafe-token",
        "OANDA_ACCOUNT_ID": "101-001-1234567-001",
        "HUB_DATA_DIR": str(settings.hub_data_dir),
    }
    secrets = settings_module.load(environ, dotenv=None)
    error = (
        f"SourceError: GET https://api/v3/accounts/101-001-1234567-001/x with f00dcafe-token; {secrets.database_url};"
        " redis://someone:swordfish@elsewhere/1 refused"
    )
    with store.transaction() as cursor:
        write_jobs(cursor, [("hourly_job", "hourly", None)], FIRST)
        end_run(cursor, begin_run(cursor, "hourly_job", FIRST, FIRST), FIRST, error=error)
    run = get(create_app(secrets, bus, store, clock, "1").test_client(), "/jobs")["jobs"][0]["last_run"]
    assert run["outcome"] == "failed"
    assert run["error"] == "SourceError: GET https://api/v3/accounts/***/x with ***; ***; redis://someone:***@elsewhere/1 refused"


def test_jobs_list_before_the_first_scheduler_is_empty(client: FlaskClient) -> None:
    body = get(client, "/jobs")
    assert (body["jobs"], body["count"]) == ([], 0)


def test_jobs_lists_each_duty_with_its_process(client: FlaskClient, bus: Bus, clock: Callable[[], datetime]) -> None:
    since = format_time(clock())
    put_report(bus, "jobs@a1", duties={"held": {"timed": since, "write:0": since}, "globs": [], "backend": 7})
    put_report(bus, "jobs@a2", acting=False, duties={"held": {"source:oanda": since}, "globs": ["source:*"], "backend": 8})
    put_report(bus, "jobs@a3", acting=False, now=clock() - timedelta(seconds=8), duties={"held": {"roll_up": since}})
    put_report(bus, "jobs@a4", acting=False, duties={"held": 7})
    assert get(client, "/jobs")["duties"] == [
        {"duty": "source:oanda", "process": "jobs@a2", "since": since},
        {"duty": "timed", "process": "jobs@a1", "since": since},
        {"duty": "write:0", "process": "jobs@a1", "since": since},
    ]
