"""PgBouncer between our processes and PostgreSQL.

Transaction mode serves the hub and REST, and no other process. `manage.py doctor` finds poolers.
"""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import pytest

from config.settings import Settings
from db import poolers
from db.duties import DutySession
from db.leadership import OBSERVER, Leadership
from db.postgres import Store, StoreError
from db.prices import PriceRow, insert_prices
from ops import running
from ops.process import Process
from ops.supervisor import Supervisor
from tests.conftest import Servers, new_database, settings_for
from tests.support import processes
from tests.support.examined import Examined, as_text, examined
from tests.support.ports import free_port
from tests.support.processes import Web

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
    assert "set DATABASE_DIRECT_URL to a direct address" in problem.remedy
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
    assert "DATABASE_POOLER" in problem.remedy


def test_pooler_of_hub_and_rest_needs_its_mode(system: Examined) -> None:
    with pgbouncer(system.database_url, "pool_mode = transaction") as url:
        urls = {"DATABASE_URL": url, "DATABASE_DIRECT_URL": system.database_url}
        results = []
        for mode in ("transaction", "session", "none"):
            with system.in_environ(**urls, DATABASE_POOLER=mode):
                results.append(system.results()["connection pooler"])
    assert [each.status for each in results] == ["ok", "failure", "failure"]
    assert "the hub and REST use one in transaction mode" in results[0].detail
    assert [each.remedy for each in results[1].problems] == ["DATABASE_POOLER=transaction"]
    assert any("refuses the connections" in each.detail for each in results[2].problems)
    with system.in_environ(DATABASE_URL="postgresql://x@127.0.0.1:1/x", DATABASE_DIRECT_URL=system.database_url):
        [problem] = system.results()["connection pooler"].problems
    assert (problem.status, problem.detail.startswith("DATABASE_URL: ")) == ("failure", True)


def test_probe_leaves_no_value_on_the_sessions_of_a_pooler(servers: Servers) -> None:
    with new_database(servers) as direct, pgbouncer(direct, "pool_mode = transaction") as url:
        assert poolers.shares_sessions(url, attempt_seconds=5, seconds=10)
        with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('tickwire.probe', true)")
            assert cursor.fetchall() in ([("",)], [(None,)])


TRANSACTION = ("pool_mode = transaction", "default_pool_size = 2")  # without `ignore_startup_parameters`


@pytest.fixture(scope="module")
def direct(servers: Servers) -> Iterator[str]:
    """The address of a database whose defaults differ from the settings of our sessions."""
    with new_database(servers) as url, closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        name = url.rsplit("/", 1)[1]
        connection.cursor().execute(f"ALTER DATABASE {name} SET timezone TO 'Asia/Tokyo'")
        yield url


@pytest.fixture(scope="module")
def pooled(direct: str) -> Iterator[str]:
    """The address of the same database through a pooler in transaction mode."""
    with pgbouncer(direct, *TRANSACTION) as url:
        yield url


def shown(store: Store) -> tuple[str, str]:
    with store.transaction() as cursor:
        cursor.execute("SELECT current_setting('statement_timeout'), current_setting('timezone')")
        timeout, zone = cursor.fetchone() or ("", "")
        return timeout, zone


def test_each_transaction_has_its_settings(direct: str, pooled: str) -> None:
    with (
        closing(Store(pooled, timeout_ms=1234, pooler="transaction")) as store,
        closing(Store(pooled, timeout_ms=777, pooler="transaction")) as other,
    ):
        assert [shown(each) for each in (store, other, store)] == [("1234ms", "UTC"), ("777ms", "UTC"), ("1234ms", "UTC")]
        with pytest.raises(StoreError, match="statement timeout"), other.transaction() as cursor:
            cursor.execute("SELECT pg_sleep(30)")
        assert shown(other) == ("777ms", "UTC")
    with closing(Store(direct, timeout_ms=1234)) as store:
        assert shown(store) == ("1234ms", "UTC")
    with closing(psycopg2.connect(pooled)) as connection, connection.cursor() as cursor:  # nothing stays on a session
        cursor.execute("SELECT current_setting('statement_timeout'), current_setting('timezone')")
        assert cursor.fetchone() == ("0", "Asia/Tokyo")


def test_session_of_a_pooler_in_session_mode_has_its_settings(direct: str) -> None:
    with pgbouncer(direct, "pool_mode = session") as url, closing(Store(url, timeout_ms=1234, pooler="session")) as store:
        assert [shown(store) for _ in range(2)] == [("1234ms", "UTC")] * 2


def test_pooler_refuses_the_settings_of_a_session(pooled: str) -> None:
    with closing(Store(pooled)) as store, pytest.raises(StoreError, match="unsupported startup parameter"):
        store.ping()


def test_lock_of_a_session_has_two_holders_behind_the_pooler_and_one_before_it(direct: str, pooled: str) -> None:
    """The reason for the direct address: PgBouncer gives one session to both."""
    with pgbouncer(direct, "pool_mode = transaction", "default_pool_size = 1") as url:
        assert holders(url) == (2, 2)
    with pgbouncer(direct, "pool_mode = session") as url:
        assert holders(url) == (1, 1)
    assert holders(direct) == (1, 1)


def holders(url: str) -> tuple[int, int]:
    """Return the numbers of candidates that win an election, and that take a duty."""
    candidates = [Leadership(url, lock=OBSERVER) for _ in range(2)]
    members = [DutySession(url) for _ in range(2)]
    try:
        return sum(each.win() for each in candidates), sum(each.take("timed") for each in members)
    finally:
        for candidate in candidates:
            candidate.resign()
        for member in members:
            member.close()


def test_lock_of_a_transaction_has_one_holder_behind_the_pooler(pooled: str) -> None:
    lock = "SELECT pg_try_advisory_xact_lock(hashtext('tickwire roll-up'))"
    with closing(Store(pooled, pooler="transaction")) as store, store.transaction() as first, store.transaction() as second:
        found = []
        for cursor in (first, second):
            cursor.execute(lock)
            found.append(cursor.fetchone())
    assert found == [(True,), (False,)]


def test_temporary_table_of_an_old_version_is_not_used(direct: str) -> None:
    """A session that a pooler keeps may have a staging table of an old shape."""
    time = "2025-01-01T00:00:00.000000Z"
    row = PriceRow("EUR_USD", time, time, "1.09380", "1.09390", "1.09385", None, "oanda", "e", 1)
    with closing(Store(direct, pool_max=1)) as store:
        with store.transaction() as cursor:
            cursor.execute("CREATE TEMP TABLE prices_staging (instrument text) ON COMMIT DELETE ROWS")
        with store.transaction() as cursor:
            assert insert_prices(cursor, [row]).new == 1
        with store.transaction() as cursor:
            cursor.execute("SELECT relname FROM pg_class WHERE relpersistence = 't' AND relkind = 'r'")
            assert cursor.fetchall() == [("prices_staging",)]


@pytest.fixture(scope="module")
def settings(servers: Servers, direct: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_for(direct, servers.redis_url, tmp_path_factory.mktemp("pooled") / "var")


@pytest.mark.slow
def test_hub_and_rest_work_behind_the_pooler_and_jobs_refuse_it(settings: Settings, pooled: str, tmp_path: Path) -> None:
    behind = {"DATABASE_URL": pooled, "DATABASE_DIRECT_URL": str(settings.database_url), "DATABASE_POOLER": "transaction"}
    with ExitStack() as stack:
        rest, hub = (Web(name, settings, tmp_path / f"{name}.log", **behind) for name in ("rest", "hub"))
        jobs = [
            stack.enter_context(processes.jobs(settings, tmp_path / f"{name}.log", **environ))
            for name, environ in {
                "direct": {**behind, "DATABASE_DIRECT_URL": pooled},
                "undeclared": {"DATABASE_URL": pooled},
            }.items()
        ]
        for web in (rest, hub):
            stack.enter_context(web)
        for each in jobs:
            assert each.popen is not None
            assert each.popen.wait(60) == 2, each.output()
            assert "DATABASE_DIRECT_URL goes through a transaction pooler: set it to the PostgreSQL server itself" in each.output()
        for path in ("/ticks?symbol=EUR_USD", "/symbols", "/health/ready"):
            assert running.answers(rest.url, path), rest.output()[-2000:]
        assert running.answers(hub.url, "/hub/health")
