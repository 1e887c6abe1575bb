"""The embedded servers, started."""

from __future__ import annotations

import os
import re
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest
import redis as redis_client

from ops import embedded
from ops.embedded.server import Server
from ops.supervisor import StartError, Supervisor
from tests.support.servers import add_operator, superuser_url


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with Supervisor() as made:
        yield made


def query(url: str, statement: str) -> object:
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()[0][0] if cursor.description else None
    finally:
        connection.close()


def client(server: Server) -> redis_client.Redis:
    return redis_client.Redis.from_url(server.url, decode_responses=True)


def kill(supervisor: Supervisor, name: str) -> None:
    """Kill the process and end the supervisor, so that the data directory is that of a crash."""
    process = psutil.Process(supervisor.pids[name])
    process.kill()
    supervisor.stop()


def test_passwords_are_in_no_argv_and_no_repr(tmp_path: Path) -> None:
    postgres, redis = embedded.postgres(tmp_path), embedded.redis(tmp_path)
    passwords = {file.name: file.read_text() for file in tmp_path.glob("*.password")}
    assert set(passwords) == {
        "redis.password",
        "postgres.password",
        *(f"postgres.{role}.password" for role in ("owner", "writer", "reader")),
    }
    assert all(stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600 for name in passwords)
    assert passwords["redis.password"] in redis.url
    assert [
        passwords[f"postgres.{role}.password"] in url
        for role, url in zip(("owner", "writer", "reader"), postgres.urls.values(), strict=True)
    ]
    for server in (postgres, redis):
        assert not any(password in " ".join(server.argv) + repr(server) for password in passwords.values())


def test_postgres_keeps_its_data_after_a_kill_and_requires_its_password(tmp_path: Path, supervisor: Supervisor) -> None:
    first = embedded.postgres(tmp_path)
    supervisor.start(first)
    query(first.url, "CREATE TABLE kept AS SELECT 42 AS answer")
    with pytest.raises(psycopg2.OperationalError, match="password"):
        query(first.url.replace((tmp_path / "postgres.owner.password").read_text(), "wrong"), "SELECT 1")
    kill(supervisor, "postgres")
    again = embedded.postgres(tmp_path)
    supervisor.start(again)
    assert query(again.url, "SELECT answer FROM kept") == 42
    assert query(again.url, "SHOW fsync") == "on"
    assert query(again.url, "SHOW listen_addresses") == "127.0.0.1"


def test_postgres_starts_despite_a_lock_file_with_the_pid_of_another_process(tmp_path: Path, supervisor: Supervisor) -> None:
    server = embedded.postgres(tmp_path)
    other = os.getppid() if os.geteuid() else 1
    (tmp_path / "postgres" / "postmaster.pid").write_text(f"{other}\n{tmp_path / 'postgres'}\n")
    supervisor.start(server)
    assert query(server.url, "SELECT 1") == 1


def test_missing_database_is_created(tmp_path: Path, supervisor: Supervisor) -> None:
    server = embedded.postgres(tmp_path)
    supervisor.start(server)
    connection = psycopg2.connect(superuser_url(tmp_path, server.url).removesuffix("tickwire") + "postgres")
    connection.autocommit = True
    connection.cursor().execute("DROP DATABASE tickwire WITH (FORCE)")
    connection.close()
    assert server.ready()
    assert query(server.url, "SELECT current_database()") == "tickwire"


def test_leftover_of_a_killed_initdb_is_removed(tmp_path: Path) -> None:
    stale = tmp_path / "postgres.new-killed"
    stale.mkdir()
    (stale / "PG_VERSION").write_text("18\n")
    embedded.postgres(tmp_path)
    assert not stale.exists()
    assert (tmp_path / "postgres" / "PG_VERSION").is_file()


def test_foreign_or_too_new_data_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "postgres"
    data.mkdir()
    (data / "letters.txt").write_text("dear")
    with pytest.raises(StartError, match="holds no PostgreSQL data"):
        embedded.postgres(tmp_path)
    (data / "PG_VERSION").write_text("99\n")
    with pytest.raises(StartError, match="made by PostgreSQL 99"):
        embedded.postgres(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
def test_postgres_started_by_root_runs_as_another_user_in_a_private_directory(tmp_path: Path, supervisor: Supervisor) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    server = embedded.postgres(closed)
    supervisor.start(server)
    process = psutil.Process(supervisor.pids["postgres"])
    assert process.username() in ("tickwire", "nobody")
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    rights = next(line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if line.startswith("CapEff"))
    assert int(rights.split()[1], 16).bit_count() == 1  # the one that lets it enter the private directory


def test_redis_keeps_its_data_after_a_kill_and_requires_its_password(tmp_path: Path, supervisor: Supervisor) -> None:
    first = embedded.redis(tmp_path)
    supervisor.start(first)
    client(first).set("tickwire:kept", "42")
    with pytest.raises(redis_client.AuthenticationError):
        redis_client.Redis.from_url(re.sub("//.*@", "//", first.url)).ping()
    kill(supervisor, "redis")
    again = embedded.redis(tmp_path)
    operator = redis_client.Redis.from_url(add_operator(again, tmp_path), decode_responses=True)
    supervisor.start(again)
    assert client(again).get("tickwire:kept") == "42"
    assert operator.config_get("append*") == {"appendonly": "yes", "appendfsync": "always", "appendfilename": "appendonly.aof"}
    assert again.url == first.url


def test_redis_is_not_ready_before_its_start(tmp_path: Path) -> None:
    assert embedded.redis(tmp_path).ready() is False


def test_each_server_has_its_stop_signal(tmp_path: Path) -> None:
    assert embedded.postgres(tmp_path).stop_signal == signal.SIGINT  # fast shutdown; SIGTERM waits for every client
    assert embedded.redis(tmp_path).stop_signal == signal.SIGTERM
