"""PgBouncer between our processes and PostgreSQL: `manage.py doctor` accepts session mode alone."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import pytest

from db import diagnosis
from db.postgres import Store
from ops.process import Process
from ops.supervisor import Supervisor
from tests.conftest import Servers, new_database
from tests.support.examined import Examined, as_text, examined
from tests.support.processes import free_port

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="PgBouncer is not installed: apt-get install pgbouncer")


@pytest.fixture(scope="module")
def system(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Examined]:
    with examined(servers, tmp_path_factory.mktemp("examined")) as found:
        yield found


@contextmanager
def pgbouncer(url: str, *lines: str) -> Iterator[str]:
    """Start a pooler before the server of `url`; yield the address of the database behind it."""
    parts, port = urlsplit(url), free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "users.txt").write_text(f'"{parts.username}" "{parts.password}"\n')
        database = f"* = host={parts.hostname} port={parts.port}"
        settings = [f"listen_port = {port}", "listen_addr = 127.0.0.1", "unix_socket_dir =", "auth_type = scram-sha-256"]
        settings += [f"auth_file = {folder}/users.txt", *lines]
        file = folder / "pgbouncer.ini"
        file.write_text("\n".join(["[databases]", database, "[pgbouncer]", *settings, ""]))
        pooled = url.replace(f":{parts.port}/", f":{port}/")
        with Supervisor() as supervisor:
            argv = (str(PGBOUNCER), *_other_user(), str(file))
            supervisor.start(Process(name="pgbouncer", argv=argv, log=folder / "log", ready=lambda: _opens(pooled)))
            yield pooled


def _other_user() -> tuple[str, ...]:
    """PgBouncer refuses to run as root."""
    return ("-u", pwd.getpwnam("nobody").pw_name) if os.geteuid() == 0 else ()


def _opens(url: str) -> bool:
    with suppress(psycopg2.OperationalError):
        psycopg2.connect(url).close()
        return True
    return False


@pytest.mark.parametrize("round_robin", ["0", "1"])
def test_transaction_mode_is_found_with_its_remedy(system: Examined, round_robin: str) -> None:
    lines = ("pool_mode = transaction", f"server_round_robin = {round_robin}", "ignore_startup_parameters = options")
    with pgbouncer(system.database_url, *lines) as url, system.with_(database_url=url):
        found = system.results()
    result = found["connection pooler"]
    assert result.status == "failure", as_text(found)
    [problem] = result.problems
    assert "DATABASE_URL leads to a pooler in transaction mode" in problem.detail
    assert "a pooler in session mode for jobs, books, observer and migrate" in problem.remedy
    assert found["PostgreSQL"].status == "ok", as_text(found)


def test_session_mode_and_a_direct_connection_pass(system: Examined) -> None:
    direct = system.results()
    with (
        pgbouncer(system.database_url, "pool_mode = session", "ignore_startup_parameters = options") as url,
        system.with_(database_url=url),
        closing(Store(url)) as store,
    ):
        store.ping()  # as our processes connect
        pooled = system.results()
    assert (direct["connection pooler"].problems, pooled["connection pooler"].problems) == ((), ())


def test_pooler_that_refuses_our_sessions_is_found(system: Examined) -> None:
    with pgbouncer(system.database_url, "pool_mode = session") as url, system.with_(database_url=url):
        [problem] = system.results()["connection pooler"].problems
    assert (problem.status, "unsupported startup parameter" in problem.detail) == ("failure", True)
    assert "ignore_startup_parameters = options" in problem.remedy


def test_probe_leaves_no_value_on_the_sessions_of_a_pooler(servers: Servers) -> None:
    with new_database(servers) as direct, pgbouncer(direct, "pool_mode = transaction") as url:
        assert diagnosis.shares_sessions(url, attempt_seconds=5, seconds=10)
        with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('tickwire.probe', true)")
            assert cursor.fetchall() in ([("",)], [(None,)])
