"""`manage.py doctor`: each row of its table with the fault really caused, and its output."""

from __future__ import annotations

import json
import os
import resource
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from db import topics
from db.messages import Tick
from db.timestamps import format_time
from ops.doctor.examine import CHECKS
from ops.doctor.parts import machine, timescale
from ops.doctor.parts.timescale import Pair
from ops.doctor.results import FAILURE, OK, UNKNOWN, WARNING
from tests.conftest import Servers
from tests.standins.old_servers import listening, silent
from tests.support.examined import SAFE, WORD, Examined, as_text, examined, own_redis, report_jobs
from tests.support.ports import free_port
from tests.support.processes import ROOT
from tests.support.registry import put_report
from tests.support.servers import ROLE_PASSWORD
from tests.support.up import Environment

Cause = Callable[[Examined], AbstractContextManager[Any]]


@pytest.fixture(scope="module")
def shared(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Examined]:
    with examined(servers, tmp_path_factory.mktemp("examined")) as system:
        yield system


@pytest.fixture
def system(shared: Examined, servers: Servers) -> Examined:
    """The system with an empty bus, whose jobs have just reported."""
    shared.redis.flushall()
    shared.bus.set_instruments(servers.calendars)
    report_jobs(shared)
    return shared


def test_system_without_a_fault_is_ok(system: Examined) -> None:
    found = system.results()
    assert list(found) == list(CHECKS)
    assert {name: each.problems for name, each in found.items()} == dict.fromkeys(CHECKS, ())
    assert {each.as_json()["remedy"] for each in found.values()} == {None}


# causes of faults


def settings(**variables: str) -> Cause:
    return lambda system: system.in_environ(**variables)


def sql(cause: str, mend: str) -> Cause:
    return lambda system: system.database(cause, mend)


def config(name: str, value: str) -> Cause:
    return lambda system: system.config(name, value)


@contextmanager
def foreign_listener(system: Examined) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", 0)) as listener, system.in_environ(API_PORT=str(listener.getsockname()[1])):
        yield


@contextmanager
def unreached_database(system: Examined) -> Iterator[None]:
    with system.with_(database_url=f"postgresql://tick:{WORD}@127.0.0.1:{free_port()}/ticks"):
        yield


@contextmanager
def wrong_password(system: Examined) -> Iterator[None]:
    with system.with_(database_url=system.database_url.replace(ROLE_PASSWORD, WORD)):
        yield


@contextmanager
def missing_migration(system: Examined) -> Iterator[None]:
    name = "0019.duties"
    with closing(psycopg2.connect(system.superuser_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT * FROM _yoyo_migration WHERE migration_id = %s", (name,))
        [row] = cursor.fetchall()
        cursor.execute("DELETE FROM _yoyo_migration WHERE migration_id = %s", (name,))
        connection.commit()
        yield
        cursor.execute("INSERT INTO _yoyo_migration VALUES (%s, %s, %s)", row)
        connection.commit()


_VIEWS = """
CREATE SCHEMA timescaledb_information;
CREATE VIEW timescaledb_information.job_stats AS
    SELECT 1003 AS job_id, 'prices' AS hypertable_name, 'STATUS' AS last_run_status;
CREATE VIEW timescaledb_information.jobs AS SELECT 1003 AS job_id, 'policy_compression' AS proc_name;
CREATE VIEW timescaledb_information.job_errors AS
    SELECT 1003 AS job_id, now() AS start_time, 'cannot drop portal' AS err_message;
GRANT USAGE ON SCHEMA timescaledb_information TO PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA timescaledb_information TO PUBLIC;
"""


@contextmanager
def timescaledb(system: Examined, *, version: str = "2.17.2", failed: bool = False) -> Iterator[None]:
    """An extension of this name and version, with the views of its background jobs."""
    with tempfile.TemporaryDirectory() as name, closing(psycopg2.connect(system.superuser_url)) as connection:
        folder = Path(name) / "extension"
        folder.mkdir()
        for path in (Path(name), folder):
            path.chmod(0o755)  # the server may run as another user
        (folder / "timescaledb.control").write_text(f"default_version = '{version}'\n")
        (folder / f"timescaledb--{version}.sql").write_text(_VIEWS.replace("STATUS", "Failed" if failed else "Success"))
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('extension_control_path', %s, false)", (f"{name}:$system",))
            cursor.execute("CREATE EXTENSION timescaledb")
            try:
                yield
            finally:
                cursor.execute("DROP EXTENSION timescaledb CASCADE")


@contextmanager
def failing_pair(system: Examined) -> Iterator[None]:
    """The server of the tests takes the place of the one that is known to fail."""
    with closing(psycopg2.connect(system.database_url)) as connection:
        server = connection.get_parameter_status("server_version") or ""
    [known] = [pair for pair in timescale.PAIRS if not pair.works]
    with pytest.MonkeyPatch.context() as patch, timescaledb(system, version=known.timescaledb):
        patch.setattr(timescale, "PAIRS", (Pair(known.timescaledb, server.split()[0], False, known.text),))
        yield


def unreached_redis(system: Examined) -> AbstractContextManager[None]:
    return system.with_(redis_url=f"redis://:{WORD}@127.0.0.1:{free_port()}/0")


@contextmanager
def embedded_redis_away(system: Examined) -> Iterator[None]:
    with unreached_redis(system), system.in_environ(REDIS_URL=""):
        yield


@contextmanager
def nothing_runs(system: Examined) -> Iterator[None]:
    with system.with_(runs=False), system.in_environ(DATABASE_URL="", REDIS_URL=""):
        yield


@contextmanager
def replica(system: Examined) -> Iterator[None]:
    with own_redis(system.folder / "replica", *SAFE, "--replicaof", "127.0.0.1", "1") as (_, url), system.with_(redis_url=url):
        yield


@contextmanager
def cluster(system: Examined) -> Iterator[None]:
    with own_redis(system.folder / "cluster", *SAFE, "--cluster-enabled", "yes") as (_, url), system.with_(redis_url=url):
        yield


@contextmanager
def refused_config(system: Examined) -> Iterator[None]:
    system.redis.execute_command("ACL", "SETUSER", "tick", "on", f">{WORD}", "~*", "&*", "+@all", "-config")  # type: ignore[no-untyped-call]
    with system.with_(redis_url=system.redis_url.replace("//:", "//tick:")):
        yield


def unstored(count: int) -> Cause:
    @contextmanager
    def cause(system: Examined) -> Iterator[None]:
        price = Tick("EUR_USD", "1.10000", "1.10002", "1.10001", "2025-11-18T12:30:00.000000Z", "test")
        system.bus.publish_prices([price] * count)
        with system.in_environ(STREAM_MAX_LENGTH="1000"):
            yield

    return cause


@contextmanager
def pending(system: Examined) -> Iterator[None]:
    added = int(time.time() * 1000) - 120_000
    key = topics.stream_key(topics.TRADES)
    system.redis.xadd(key, {"trades": "1", "lines": "x"}, id=f"{added}-0")
    system.redis.xgroup_create(key, topics.WRITER_GROUP, id="0")
    system.redis.xreadgroup(topics.WRITER_GROUP, "writer", {key: ">"})
    yield


@contextmanager
def parked(system: Examined) -> Iterator[None]:
    system.redis.xadd(topics.stream_key(topics.PRICES), {"topic": "EUR_USD"})
    system.bus.open_group(topics.PRICES)
    assert system.bus.read_unstored(topics.PRICES, 10, 0) == []
    yield


def clock(seconds: float) -> Cause:
    return lambda system: system.with_(now=lambda: time.time() + seconds)


def ulimit(system: Examined) -> AbstractContextManager[None]:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return settings(WEBSOCKET_MAX_CLIENTS=str(hard))(system)


@contextmanager
def short_backlog(system: Examined) -> Iterator[None]:
    file = system.folder / "somaxconn"
    file.write_text("128\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "_SOMAXCONN", file)
        yield


def full_disk(free: int, total: int) -> Cause:
    @contextmanager
    def cause(system: Examined) -> Iterator[None]:
        values = (4096, 4096, total // 4096, free // 4096, free // 4096, 0, 0, 0, 0, 255)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "statvfs", lambda _: os.statvfs_result(values))
            yield

    return cause


@contextmanager
def ended_process(system: Examined) -> Iterator[None]:
    ended = subprocess.Popen(["true"])
    ended.wait()
    with system.with_(pids={"observer": ended.pid}):
        yield


@contextmanager
def silent_process(system: Examined) -> Iterator[None]:
    put_report(system.bus, "observer@test", now=datetime.now(UTC) - timedelta(seconds=60))
    yield


@contextmanager
def no_holder(system: Examined) -> Iterator[None]:
    held = dict.fromkeys(("source:synthetic", "write:0", "roll_up", "publish_alerts"), "2026-01-01T00:00:00.000000Z")
    report_jobs(system, duties={"held": held, "globs": [], "backend": 1})
    yield
    report_jobs(system)


@contextmanager
def no_leader(system: Examined) -> Iterator[None]:
    report_jobs(system, acting=False)
    yield


@contextmanager
def no_observer_acts(system: Examined) -> Iterator[None]:
    put_report(system.bus, "observer@test", acting=False)
    yield


def reported(**parts: Any) -> Cause:
    @contextmanager
    def cause(system: Examined) -> Iterator[None]:
        report_jobs(system, **parts)
        yield

    return cause


@contextmanager
def silent_hub(system: Examined) -> Iterator[None]:
    with listening(silent) as port:
        put_report(system.bus, "hub:5001@test", hub={"url": f"http://127.0.0.1:{port}", "clients": 0, "draining": False})
        yield


def rest_answers(path: str, status: int, body: str) -> Cause:
    @contextmanager
    def cause(system: Examined) -> Iterator[None]:
        system.rest.faults[path] = (status, body)
        yield
        system.rest.faults.clear()

    return cause


@contextmanager
def no_rest(system: Examined) -> Iterator[None]:
    url = system.rest.url
    system.rest.url = f"http://127.0.0.1:{free_port()}"
    yield
    system.rest.url = url


def certificate(days: float) -> Cause:
    """A TLS server whose certificate ends in so many days."""

    @contextmanager
    def cause(system: Examined) -> Iterator[None]:
        with tls_server(certificate_of(system.folder, days)) as port, system.in_environ(HUB_PUBLIC_URL=f"https://127.0.0.1:{port}"):
            yield

    return cause


def certificate_of(folder: Path, days: float) -> Path:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hub.test")])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=90), now + timedelta(days=days))
    file = folder / "certificate.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    return file


@contextmanager
def tls_server(file: Path) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)

    def serve(connection: socket.socket) -> None:
        with suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(1)

    with listening(serve) as port:
        yield port


@contextmanager
def old_data(system: Examined) -> Iterator[None]:
    folder = system.folder / "postgres"
    folder.mkdir()
    (folder / "PG_VERSION").write_text("16\n")
    with system.in_environ(DATABASE_URL=""):
        yield
    (folder / "PG_VERSION").unlink()
    folder.rmdir()


def backup(text: str | None) -> Cause:
    @contextmanager
    def cause(system: Examined) -> Iterator[None]:
        with tempfile.TemporaryDirectory() as name, system.with_(backup=Path(name)):
            if text is not None:
                (Path(name) / "manifest.json").write_text(text)
            yield

    return cause


def manifest(hours: float) -> str:
    texts = dict.fromkeys(("tickwire", "postgresql", "dumped_by", "redis", "timescaledb", "owner", "epoch"), "1")
    created = format_time(datetime.now(UTC) - timedelta(hours=hours))
    parts: dict[str, Any] = {"roles": [], "migrations": [], "rows": {}, "seq": {}, "files": {}}
    return json.dumps({**texts, "kind": "dump", "created": created, **parts})


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault: its check, its status, and parts of the detail and of the remedy."""

    check: str
    status: str
    cause: Cause
    detail: str
    remedy: str


NOW = datetime.now(UTC)
LATE_JOB = "INSERT INTO jobs (id, schedule, next_run, updated) VALUES ('hourly_job', 'hourly', now() - interval '1 h', now())"
SOURCE = {"synthetic": {"state": "stale", "since": format_time(NOW), "detail": "no data for 15 s"}}
FAULTS = {
    "open host": Fault(
        "settings", WARNING, settings(WEBSOCKET_HOST="192.0.2.1", AUTH="off", AUTH_ALLOW_OPEN="true"),
        "AUTH=off on an open host (WEBSOCKET_HOST=192.0.2.1)", "AUTH=auto",
    ),
    "log file": Fault("settings", FAILURE, settings(LOG_FILE="/nowhere/of/ours.log"), "LOG_FILE /nowhere/of/ours.log", "set LOG_FILE"),
    "port taken": Fault("ports", FAILURE, foreign_listener, f"is taken by {psutil.Process().name()} (pid {os.getpid()})", "API_PORT"),
    "foreign address": Fault("ports", FAILURE, settings(API_HOST="192.0.2.1", AUTH="required"), "192.0.2.1", "set API_HOST"),
    "database unreached": Fault("PostgreSQL", FAILURE, unreached_database, "(Connection refused)", "set DATABASE_URL"),
    "database login": Fault("PostgreSQL", FAILURE, wrong_password, "password authentication failed", "ALTER ROLE tickwire_owner PASSWORD"),
    "migration": Fault("PostgreSQL", FAILURE, missing_migration, "migration 0019.duties is not applied", "`manage.py migrate`"),
    "time zone": Fault(
        "PostgreSQL", WARNING, sql("ALTER ROLE tickwire_owner SET timezone TO 'Asia/Tokyo'", "ALTER ROLE tickwire_owner RESET timezone"),
        "`timezone` is Asia/Tokyo", "SET timezone TO 'UTC'",
    ),
    "connections": Fault(
        "PostgreSQL", WARNING, settings(DB_POOL_MAX="30"), "the pools of all processes and 10 more need 160", "max_connections = 160"
    ),
    "pooler unknown": Fault("connection pooler", UNKNOWN, unreached_database, "cannot be checked", "DATABASE_URL"),
    "pair unknown": Fault("TimescaleDB", WARNING, timescaledb, "was never tried", "ALTER EXTENSION timescaledb UPDATE"),
    "pair fails": Fault("TimescaleDB", FAILURE, failing_pair, "cannot drop portal", "ALTER EXTENSION timescaledb UPDATE"),
    "background job": Fault(
        "TimescaleDB", FAILURE, lambda system: timescaledb(system, failed=True),
        "background job 1003 (policy_compression of prices) failed: cannot drop portal", "CALL run_job(1003)",
    ),
    "redis unreached": Fault("Redis", FAILURE, unreached_redis, "no connection to Redis", "set REDIS_URL"),
    "embedded redis": Fault("Redis", FAILURE, embedded_redis_away, "the embedded Redis: no connection", "`manage.py up` starts it"),
    "embedded database": Fault("PostgreSQL", FAILURE, nothing_runs, "the embedded PostgreSQL does not run", "`manage.py up` starts it"),
    "replica": Fault("Redis", FAILURE, replica, "is a replica", "set REDIS_URL to the address of the primary"),
    "appendonly": Fault("Redis", FAILURE, config("appendonly", "no"), "`appendonly yes`", "redis.conf: appendonly yes"),
    "eviction": Fault("Redis", FAILURE, config("maxmemory-policy", "allkeys-lru"), "now: allkeys-lru", "maxmemory-policy noeviction"),
    "appendfsync": Fault("Redis", WARNING, config("appendfsync", "everysec"), "now: everysec", "redis.conf: appendfsync always"),
    "subscribers": Fault(
        "Redis", WARNING, config("client-output-buffer-limit", "pubsub 33554432 8388608 60"), "33,554,432 bytes behind",
        "client-output-buffer-limit pubsub 256mb 64mb 60",
    ),
    "cluster": Fault("Redis", WARNING, cluster, "cluster mode", "cluster-enabled no"),
    "config refused": Fault("Redis", UNKNOWN, refused_config, "`appendfsync` cannot be checked", "docs/deployment.md"),
    "bus full": Fault("bus", FAILURE, unstored(801), "801 of 1,000 messages of `price_updates`", "STREAM_MAX_LENGTH"),
    "bus fills": Fault("bus", WARNING, unstored(201), "201 of 1,000", "STREAM_MAX_LENGTH"),
    "pending": Fault("bus", WARNING, pending, "1 entries of `trades` were read and not acknowledged", "`manage.py status`"),
    "parked": Fault("bus", WARNING, parked, "1 entries could not be stored", "XRANGE tickwire:dead:CHANNEL"),
    "clock far": Fault("clocks", FAILURE, clock(-6), "ahead of that of this machine", "timedatectl set-ntp"),
    "clock near": Fault("clocks", WARNING, clock(1), "the clock of this machine is 1.0 s ahead", "timedatectl set-ntp"),
    "ulimit": Fault("limits", WARNING, ulimit, "the hard `ulimit -n` is", "LimitNOFILE="),
    "somaxconn": Fault("limits", WARNING, short_backlog, "net.core.somaxconn is 128", "sysctl -w net.core.somaxconn=2048"),
    "disk full": Fault("disk", FAILURE, full_disk(200 << 20, 1 << 30), "200 MB free", "HUB_DATA_DIR"),
    "disk fills": Fault("disk", WARNING, full_disk(9 << 30, 100 << 30), "(9%)", "RETENTION_*"),
    "partition": Fault(
        "disk", WARNING, sql("SELECT make_month('prices', '2014-05')", "DROP TABLE prices_2014_05"),
        "partitions older than their retention: prices_2014_05", "`manage.py job run retention`",
    ),
    "process ended": Fault("processes", FAILURE, ended_process, "the process observer of run.json", "`manage.py up`"),
    "process silent": Fault("processes", FAILURE, silent_process, "observer@test does not report", "`manage.py up`"),
    "no holder": Fault("processes", FAILURE, no_holder, "no jobs process has the duty timed", "`manage.py duties`"),
    "no leader": Fault("processes", FAILURE, no_leader, "jobs: no jobs process acts", "`manage.py up`"),
    "no observer acts": Fault("processes", FAILURE, no_observer_acts, "no observer process acts", "observer"),
    "part fails": Fault(
        "processes", FAILURE, reported(failing={"database": "timeout"}), "database: timeout", "GET /api/system/logs/recent"
    ),
    "source": Fault("processes", WARNING, reported(sources=SOURCE), "source synthetic is stale: no data for 15 s", "SOURCES"),
    "task late": Fault(
        "processes", WARNING, sql(LATE_JOB, "DELETE FROM jobs"), "the task hourly_job was due at", "`manage.py job run hourly_job`"
    ),
    "hub": Fault("hubs", FAILURE, silent_hub, "does not answer /hub/health", "WEBSOCKET_HOST"),
    "rest away": Fault("REST", FAILURE, no_rest, "no answer at http://127.0.0.1:", "`manage.py up`"),
    "rest error": Fault("REST", FAILURE, rest_answers("/symbols", 500, "{}"), "/symbols: status 500", "API_PORT"),
    "rest body": Fault("REST", FAILURE, rest_answers("/health", 200, "<html>"), "/health: status 200 with another body", "API_PORT"),
    "certificate ended": Fault("certificate", FAILURE, certificate(-1), "expired on", "renew the certificate of HUB_PUBLIC_URL"),
    "certificate ends": Fault("certificate", WARNING, certificate(13.5), "in 13 days", "HUB_PUBLIC_URL"),
    "certificate unread": Fault("certificate", UNKNOWN, settings(HUB_PUBLIC_URL="https://127.0.0.1:1"), "refused", "HUB_PUBLIC_URL"),
    "old data": Fault("embedded PostgreSQL", WARNING, old_data, "version 16", "`manage.py upgrade-database`"),
    "backup old": Fault("backup", WARNING, backup(manifest(27)), "older than 26 h", "`manage.py backup`"),
    "backup unreadable": Fault("backup", WARNING, backup("{"), "is damaged", "`manage.py backup`"),
    "backup missing": Fault("backup", WARNING, backup(None), "has no manifest.json", "`manage.py backup`"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_found_with_its_remedy(system: Examined, name: str) -> None:
    fault = FAULTS[name]
    with fault.cause(system):
        found = system.results()
    result = found[fault.check]
    assert result.status == fault.status, as_text(found)
    problem = next((each for each in result.problems if fault.detail.lower() in each.detail.lower()), None)
    assert problem is not None, as_text(found)
    assert (problem.status, fault.remedy in problem.remedy) == (fault.status, True), problem.remedy
    assert all(each.remedy for result in found.values() for each in result.problems)
    assert not any(word in as_text(found) for word in (WORD, ROLE_PASSWORD))


@pytest.mark.parametrize(
    ("cause", "check", "detail"),
    [
        (certificate(15), "certificate", "valid until"),
        (backup(manifest(25)), "backup", "created at"),
        (unstored(199), "bus", "199 messages wait"),
        (clock(0.3), "clocks", "differ by"),
        (rest_answers("/metrics", 401, "{}"), "REST", "1 of 4 answers are refusals"),
        (reported(sources={"replay": {"state": "ended", "since": format_time(NOW)}}), "processes", "jobs@test"),
    ],
)
def test_value_within_its_limit_is_ok(system: Examined, cause: Cause, check: str, detail: str) -> None:
    with cause(system):
        result = system.results()[check]
    assert (result.status, detail in result.detail) == (OK, True), result


def test_documents_have_the_table_of_timescaledb_and_a_row_for_each_check() -> None:
    printed = (ROOT / "docs/deployment.md").read_text()
    for pair in timescale.PAIRS:
        assert f"| {pair.timescaledb} | {pair.postgres} | {'works' if pair.works else 'fails'}: {pair.text} |" in printed
    section = (ROOT / "docs/operations.md").read_text().partition("\n## doctor\n")[2].partition("\n## ")[0]
    assert [name for name in CHECKS if f"\n| {name} | " not in section] == []


# the command


def doctor(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command within the limit of its contract."""
    argv = [sys.executable, "manage.py", "doctor", *arguments]
    return subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_invalid_settings_are_a_failure_and_the_rest_is_unknown(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "var") | {"API_PORT": "five", "DATABASE_URL": f"mysql://tick:{WORD}@db/ticks"}
    done = doctor(environment, "--json")
    report = json.loads(done.stdout)
    first, *others = report["checks"]
    assert (done.returncode, report["status"], first["name"], first["status"]) == (2, "failure", "settings", "failure")
    assert all(name in first["detail"] and f"set {name}" in first["remedy"] for name in ("API_PORT", "DATABASE_URL"))
    assert {each["status"] for each in others} == {"unknown"}
    shown = doctor(environment)
    assert "ports, PostgreSQL, connection pooler" in shown.stdout  # one entry for all that were not checked
    assert WORD not in done.stdout + done.stderr + shown.stdout + shown.stderr


def test_setting_of_a_source_is_needed_unless_jobs_act_elsewhere(system: Examined) -> None:
    environment = Environment(system.folder / "other") | {"SOURCES": "oanda", "DATABASE_URL": system.database_url}
    environment |= {"REDIS_URL": system.redis_url, "OANDA_API_TOKEN": "", "OANDA_ACCOUNT_ID": ""}
    found = [json.loads(doctor(environment, "--json").stdout)["checks"]]
    system.redis.flushall()
    found.append(json.loads(doctor(environment, "--json").stdout)["checks"])
    first, second = ({each["name"]: each for each in checks} for checks in found)
    assert (first["settings"]["status"], second["settings"]["status"]) == ("ok", "failure")
    assert "set OANDA_API_TOKEN" in second["settings"]["remedy"]
    assert second["PostgreSQL"]["status"] == first["PostgreSQL"]["status"] != "unknown"


def test_stopped_servers_end_in_time(tmp_path: Path) -> None:
    with listening(silent) as port:  # as a machine that drops all packets
        url = f"postgresql://tick:{WORD}@127.0.0.1:{port}/ticks"
        environment = Environment(tmp_path / "var") | {"DATABASE_URL": url, "REDIS_URL": f"redis://:{WORD}@127.0.0.1:{port}/0"}
        environment |= {"HUB_PUBLIC_URL": f"https://127.0.0.1:{port}"}
        done = doctor(environment, "--json")
    report = json.loads(done.stdout)
    found = {each["name"]: each for each in report["checks"]}
    assert (done.returncode, report["status"]) == (2, "failure")
    assert (found["PostgreSQL"]["status"], found["Redis"]["status"]) == ("failure", "failure")
    assert all(each["remedy"] for each in found.values() if each["status"] != "ok")
    assert (WORD in done.stdout + done.stderr, done.stderr) == (False, "")
