"""Health is about doing the work: each part, and ways in which it answers and does not work."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager

import psycopg2
import pytest
import redis as redis_client

from db import topics
from ops.running import RunFile
from tests.conftest import Servers, new_database, settings_for, until
from tests.support.processes import ROOT, stopped, stopped_group
from tests.support.quick_system import QuickSystem, quick_system
from tests.support.servers import of_database

REDIS_DATABASE = 3  # of this module alone

Cause = Callable[[QuickSystem], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def system(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[QuickSystem]:
    """One system for all tests; each leaves it healthy."""
    folder = tmp_path_factory.mktemp("system")
    redis_url = of_database(servers.redis_url, REDIS_DATABASE)
    with (
        new_database(servers) as database_url,
        quick_system(settings_for(database_url, redis_url, folder / "var"), servers.operator_url, folder) as running,
    ):
        yield running


# ways not to work


def on_server(system: QuickSystem, *statements: str) -> None:
    """Execute the statements on the server of the system's database."""
    url, name = str(system.settings.database_url).rsplit("/", 1)
    with closing(psycopg2.connect(f"{url}/postgres")) as connection:
        connection.autocommit = True
        for statement in statements:
            connection.cursor().execute(statement.format(name=name))


END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND backend_type = 'client backend'"


@contextmanager
def read_only_database(system: QuickSystem) -> Iterator[None]:
    on_server(system, "ALTER DATABASE {name} SET default_transaction_read_only = on", END_SESSIONS)
    try:
        yield
    finally:
        on_server(system, "ALTER DATABASE {name} RESET default_transaction_read_only", END_SESSIONS)


@contextmanager
def closed_database(system: QuickSystem) -> Iterator[None]:
    on_server(system, "ALTER DATABASE {name} ALLOW_CONNECTIONS false", END_SESSIONS)
    try:
        yield
    finally:
        on_server(system, "ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def locked(table: str) -> Cause:
    @contextmanager
    def lock(system: QuickSystem) -> Iterator[None]:
        with closing(psycopg2.connect(str(system.settings.database_url))) as connection:
            connection.cursor().execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield

    return lock


@contextmanager
def failed_row(system: QuickSystem) -> Iterator[None]:
    """The last run of the hourly job, as an earlier process left it."""
    with closing(psycopg2.connect(str(system.settings.database_url))) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(
            "INSERT INTO job_runs (job, as_of, started, finished, outcome, error)"
            " VALUES ('hourly_job', now(), now() + '1 s', now(), 'failed', 'no data') RETURNING id"
        )
        ((run,),) = cursor.fetchall()
        try:
            yield
        finally:
            cursor.execute("DELETE FROM job_runs WHERE id = %s", (run,))


def configured(**values: str) -> Cause:
    """Settings of Redis with which it answers and takes no data."""

    @contextmanager
    def configure(system: QuickSystem) -> Iterator[None]:
        with redis_client.Redis.from_url(system.operator_url) as client:
            names = {name: name.replace("_", "-") for name in values}
            before = {name: client.config_get(option)[option] for name, option in names.items()}
            for name, value in values.items():
                client.config_set(names[name], value)
            try:
                yield
            finally:
                for name, value in before.items():
                    client.config_set(names[name], value)

    return configure


@contextmanager
def replica(system: QuickSystem) -> Iterator[None]:
    """Redis as the read-only replica of a server that is gone."""
    with redis_client.Redis.from_url(system.operator_url) as client:
        client.replicaof("127.0.0.1", "1")
        try:
            yield
        finally:
            client.replicaof("NO", "ONE")


@contextmanager
def hung_redis(system: QuickSystem) -> Iterator[None]:
    """Redis takes connections and answers nothing."""
    with redis_client.Redis.from_url(system.operator_url) as client:
        pid = client.info("server")["process_id"]
    with stopped(pid):
        yield


def held(name: str) -> Cause:
    return lambda system: system.fault(name)


def suspended(process: str) -> Cause:
    """SIGSTOP to every process of the group: it exists, and the kernel takes connections for it."""
    return lambda system: stopped_group(getattr(system, process).pid)


WAYS: dict[str, tuple[str, Cause]] = {
    "database-read-only": ("database", read_only_database),
    "database-closed": ("database", closed_database),
    "database-instruments-locked": ("database", locked("instruments")),
    "bus-out-of-memory": ("bus", configured(maxmemory="1")),
    "bus-read-only-replica": ("bus", replica),
    "bus-without-replicas": ("bus", configured(min_replicas_to_write="1")),
    "source-refused": ("source:synthetic", held("source refused")),
    "source-breaks": ("source:synthetic", held("source breaks")),
    "writer-hangs": ("writer", held("writer")),
    "writer-prices-locked": ("writer", locked("prices")),
    "loop-silent": ("test-loop", held("jobs loop")),
    "jobs-stopped": ("jobs", suspended("jobs")),
    "hub-deaf": ("hub", held("hub requests")),
    "hub-relay-hangs": ("hub", held("hub relay")),
    "hub-stopped": ("hub", suspended("hub")),
    "job-failed-earlier": ("job:hourly_job", failed_row),
    "job-fails": ("job:probe_job", held("job fails")),
    "job-hangs": ("job:probe_job", held("job hangs")),
}
STATES = {"database": "database", "bus": "redis"}


@pytest.mark.parametrize("way", WAYS)
def test_part_that_answers_and_does_not_work_is_named_until_it_works(system: QuickSystem, way: str) -> None:
    part, cause = WAYS[way]
    with cause(system):
        until(lambda: system.fails(part), what=lambda: f"{part} in {system.get()}")
        until(lambda: part in system.jobs_health(), what=lambda: f"{part} in {system.jobs_health()}")
        # One answer of REST may miss the time limit of the command, and says nothing then.
        until(
            lambda: part in (status := system.status())["health"].get("failing", []) and not status["healthy"],
            what=lambda: f"{part} in {system.status()}",
        )
        if part in STATES:
            state = "disconnected" if way == "database-closed" else "impaired"
            until(lambda: system.get()[1][STATES[part]] == state, what=lambda: f"{state} in {system.get()}")
        if part == "database":
            until(lambda: system.get("/health/db")[0] == 503, what="503 of the database")
        if part == "hub":
            until(lambda: system.get()[1]["hub"] == "disconnected", what=lambda: f"disconnected in {system.get()}")
    until(system.works, what=lambda: f"health: {system.get()}")
    until(lambda: not system.jobs_health(), what=lambda: f"no failing part in {system.jobs_health()}")


def test_redis_without_answer_is_disconnected_and_the_hub_unknown(system: QuickSystem) -> None:
    with hung_redis(system):
        until(lambda: system.fails("bus"))
        until(lambda: system.get()[1]["redis"] == "disconnected", what=lambda: f"disconnected in {system.get()}")
        until(
            lambda: ((body := system.get()[1]).get("hub"), body.get("failing")) == ("unknown", ["bus"]),
            what=lambda: f"the bus alone in {system.get()}",
        )
        until(lambda: system.jobs_health().keys() == {"bus"}, what=lambda: f"the bus alone in {system.jobs_health()}")
    until(system.works)


def test_reads_are_ready_and_jobs_wait_while_the_database_takes_no_rows(system: QuickSystem) -> None:
    seen = len(system.jobs.output())
    with read_only_database(system):
        until(lambda: system.fails("database"))
        assert system.get("/health/ready")[0] == 200
        assert system.get("/health/live")[0] == 200
    until(system.works)
    said = system.jobs.output()[seen:]
    assert "writer waits" in said
    assert "the process ends" not in said
    assert "writer failed" not in said


def test_silent_loop_of_rest_makes_live_503(system: QuickSystem) -> None:
    with system.fault("rest loop"):
        until(lambda: system.get("/health/live")[0] == 503)
        assert system.get("/health/live")[1]["silent_loops"] == ["test-loop"]
    until(lambda: system.get("/health/live")[0] == 200)
    until(system.works)


def test_beginning_and_end_of_a_failure_are_logged_once(system: QuickSystem) -> None:
    def lines(text: str) -> list[str]:
        return [line for line in system.rest.output().splitlines() if text in line and "job:hourly_job" in line]

    before = len(lines("a part fails")), len(lines("a part works again"))
    with failed_row(system):
        until(lambda: system.fails("job:hourly_job"))
    until(lambda: len(lines("a part works again")) == before[1] + 1)
    begun = lines("a part fails")
    assert len(begun) == before[0] + 1
    assert "the last run failed: no data" in begun[-1]
    until(system.works)


def test_commands_exit_with_1_while_a_part_fails(system: QuickSystem) -> None:
    """Both commands as processes, with their own periods."""
    folder = system.settings.hub_data_dir
    folder.mkdir(exist_ok=True)
    urls = str(system.settings.database_url), str(system.settings.redis_url)
    RunFile(system.rest.url, system.hub.url, *urls, {"jobs": system.jobs.pid, "rest": system.rest.pid}).write(folder)
    environ = {**os.environ, "HUB_DATA_DIR": str(folder), "REDIS_URL": urls[1], "WEBSOCKET_PORT": str(system.hub.port), "SOURCES": ""}

    def codes() -> list[int]:
        commands = (["manage.py", "status"], ["-m", "jobs.health"])
        running = [
            subprocess.Popen([sys.executable, *each], cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for each in commands
        ]
        return [each.wait(60) for each in running]

    until(lambda: codes() == [0, 0], what="exit codes of a healthy system")
    with system.fault("hub requests"):
        until(lambda: system.fails("hub"))
        until(lambda: codes() == [1, 1], what="exit codes while the hub fails")
    until(system.works)


def test_checks_overwrite_one_row_and_one_field_each(system: QuickSystem) -> None:
    with closing(psycopg2.connect(str(system.settings.database_url))) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT process FROM health ORDER BY process")
        assert [role_of(name) for (name,) in cursor.fetchall()] == ["jobs", "rest"]
    with redis_client.Redis.from_url(str(system.settings.redis_url), decode_responses=True) as client:
        assert sorted({role_of(name) for name in client.hgetall(topics.HEALTH)} - {"jobs.health"}) == ["jobs", "rest"]


def role_of(name: str) -> str:
    """The role in the name `ROLE:PORT@HOST`."""
    return name.partition("@")[0].partition(":")[0]
