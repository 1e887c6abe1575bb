"""The embedded servers, really started."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest
import redis as redis_client

from ops import embedded
from ops.embedded import server as server_module
from ops.embedded.server import Server, free_port
from ops.private_files import secret
from ops.supervisor import StartError, Supervisor


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
    """SIGKILL, and the supervisor with it: what is left is what a crash leaves."""
    process = psutil.Process(supervisor.pids[name])
    process.kill()
    supervisor.stop()


def test_a_port_is_free_and_outside_the_ephemeral_range(monkeypatch: pytest.MonkeyPatch) -> None:
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    port = free_port()
    assert not low <= port <= high
    monkeypatch.setattr(server_module, "_PORTS", range(port, port + 2))
    assert free_port(avoid=(port,)) == port + 1


def test_a_secret_is_made_once_and_private(tmp_path: Path) -> None:
    file = tmp_path / "password"
    first = secret(file)
    assert len(first) >= 32
    assert secret(file) == first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_passwords_are_in_no_argv_and_no_repr(tmp_path: Path) -> None:
    for server in (embedded.postgres(tmp_path), embedded.redis(tmp_path)):
        password = (tmp_path / f"{server.name}.password").read_text()
        assert password in server.url
        assert password not in " ".join(server.argv)
        assert password not in repr(server)


def test_postgres_survives_a_kill_and_wants_its_password(tmp_path: Path, supervisor: Supervisor) -> None:
    first = embedded.postgres(tmp_path)
    supervisor.start(first)
    query(first.url, "CREATE TABLE kept AS SELECT 42 AS answer")
    with pytest.raises(psycopg2.OperationalError, match="password"):
        query(first.url.replace((tmp_path / "postgres.password").read_text(), "wrong"), "SELECT 1")
    kill(supervisor, "postgres")
    again = embedded.postgres(tmp_path)
    supervisor.start(again)
    assert query(again.url, "SELECT answer FROM kept") == 42
    assert query(again.url, "SHOW fsync") == "on"
    assert query(again.url, "SHOW listen_addresses") == "127.0.0.1"


def test_postgres_starts_over_the_lock_file_of_a_pid_that_is_somebody_else_s(tmp_path: Path, supervisor: Supervisor) -> None:
    server = embedded.postgres(tmp_path)
    stranger = os.getppid() if os.geteuid() else 1
    (tmp_path / "postgres" / "postmaster.pid").write_text(f"{stranger}\n{tmp_path / 'postgres'}\n")
    supervisor.start(server)
    assert query(server.url, "SELECT 1") == 1


def test_a_database_that_is_missing_is_made(tmp_path: Path, supervisor: Supervisor) -> None:
    server = embedded.postgres(tmp_path)
    supervisor.start(server)
    connection = psycopg2.connect(server.url.removesuffix("tickwire") + "postgres")
    connection.autocommit = True
    connection.cursor().execute("DROP DATABASE tickwire WITH (FORCE)")
    connection.close()
    assert server.ready()
    assert query(server.url, "SELECT current_database()") == "tickwire"


def test_a_killed_initdb_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    stale = tmp_path / "postgres.new-killed"
    stale.mkdir()
    (stale / "PG_VERSION").write_text("18\n")
    embedded.postgres(tmp_path)
    assert not stale.exists()
    assert (tmp_path / "postgres" / "PG_VERSION").is_file()


def test_foreign_or_too_new_data_is_left_alone(tmp_path: Path) -> None:
    data = tmp_path / "postgres"
    data.mkdir()
    (data / "letters.txt").write_text("dear")
    with pytest.raises(StartError, match="holds no PostgreSQL data"):
        embedded.postgres(tmp_path)
    (data / "PG_VERSION").write_text("99\n")
    with pytest.raises(StartError, match="made by PostgreSQL 99"):
        embedded.postgres(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
def test_root_s_postgres_is_nobody_s_in_a_directory_closed_to_others(tmp_path: Path, supervisor: Supervisor) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    server = embedded.postgres(closed)
    supervisor.start(server)
    process = psutil.Process(supervisor.pids["postgres"])
    assert process.username() == "nobody"
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    rights = next(line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if line.startswith("CapEff"))
    assert int(rights.split()[1], 16).bit_count() == 1  # the one that lets it pass


def test_redis_keeps_its_data_and_wants_its_password(tmp_path: Path, supervisor: Supervisor) -> None:
    first = embedded.redis(tmp_path)
    supervisor.start(first)
    client(first).set("kept", "42")
    with pytest.raises(redis_client.AuthenticationError):
        redis_client.Redis.from_url(first.url.replace("default:" + (tmp_path / "redis.password").read_text() + "@", "")).ping()
    kill(supervisor, "redis")
    again = embedded.redis(tmp_path)
    supervisor.start(again)
    assert client(again).get("kept") == "42"
    assert client(again).config_get("append*") == {"appendonly": "yes", "appendfsync": "always", "appendfilename": "appendonly.aof"}


def test_redis_is_not_ready_while_nobody_answers(tmp_path: Path) -> None:
    assert embedded.redis(tmp_path).ready() is False


def test_stop_signals_are_each_server_s_own(tmp_path: Path) -> None:
    assert embedded.postgres(tmp_path).stop_signal == signal.SIGINT  # fast; SIGTERM would wait for every client
    assert embedded.redis(tmp_path).stop_signal == signal.SIGTERM
