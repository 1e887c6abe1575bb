"""A primary and a streaming replica of it, both from the binaries of the wheel."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg2

from db import migrate
from ops import embedded
from ops.embedded.postgres import NEWEST, Postgres, programs_of
from ops.embedded.server import ENV
from tests.conftest import until
from tests.support.processes import Breakable
from tests.support.servers import equal_passwords, superuser_url

QUICK = ("-c", "fsync=off", "-c", "autovacuum=off")


@dataclass(frozen=True, slots=True)
class Pair:
    """Both servers; `url` and `replica_url` have the owner's role, the others the superuser."""

    primary: Breakable
    replica: Breakable
    url: str
    replica_url: str
    superuser: str
    replica_superuser: str

    def on_primary(self, *statements: str) -> Any:
        """Execute statements on the primary; return the rows of the last one."""
        return execute(self.superuser, *statements)

    def on_replica(self, *statements: str) -> Any:
        """Execute statements on the replica; return the rows of the last one."""
        return execute(self.replica_superuser, *statements)

    def configure(self, name: str, value: str) -> None:
        """Set a setting of the replica."""
        self.on_replica(f"ALTER SYSTEM SET {name} = '{value}'", "SELECT pg_reload_conf()")
        until(lambda: self.on_replica(f"SELECT current_setting('{name}')") == [(value,)], what=f"{name} = {value}")

    def await_replay(self) -> None:
        """Wait until the replica has everything that the primary has written."""
        [(position,)] = self.on_primary("SELECT pg_current_wal_lsn()")
        until(lambda: self.on_replica(f"SELECT pg_last_wal_replay_lsn() >= '{position}'") == [(True,)], what="the replay")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the replay for the block."""
        self.on_replica("SELECT pg_wal_replay_pause()")
        until(lambda: self.on_replica("SELECT pg_get_wal_replay_pause_state()") == [("paused",)], what="the pause")
        try:
            yield
        finally:
            self.on_replica("SELECT pg_wal_replay_resume()")

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Suspend the replica for the block: it accepts connections and answers nothing."""
        processes = self._processes()
        try:
            for process in processes:
                process.suspend()
            yield
        finally:
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def kill_replica(self) -> None:
        """Kill the replica with all its sessions."""
        processes = self._processes()
        self.replica.kill(signal.SIGKILL)
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=30)

    def _processes(self) -> list[psutil.Process]:
        server = psutil.Process(self.replica.pid)
        return [server, *server.children(recursive=True)]


def execute(url: str, *statements: str) -> Any:
    """Execute statements in a session of their own; return the rows of the last one."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        for statement in statements:
            cursor.execute(statement)
        return cursor.fetchall() if cursor.description else None


@contextmanager
def primary_and_replica(folder: Path) -> Iterator[Pair]:
    """Start a migrated primary and its replica."""
    homes = folder / "primary", folder / "replica"
    for home in homes:
        home.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700)
    equal_passwords(homes[0])
    with ExitStack() as stack:
        first = embedded.postgres(homes[0])
        primary = stack.enter_context(Breakable(replace(first, argv=(*first.argv, *QUICK)), folder))
        migrate.apply(first.url)
        superuser = superuser_url(homes[0], first.url)
        for file in homes[0].glob("*.password"):
            shutil.copy2(file, homes[1] / file.name)
        _copy(superuser, homes[1] / "postgres")
        second: Postgres = embedded.postgres(homes[1])
        on_replica = superuser_url(homes[1], second.url)
        ready = partial(_answers, on_replica)
        replica = stack.enter_context(Breakable(replace(second, argv=(*second.argv, *QUICK), ready=ready), folder / "replica"))
        yield Pair(primary, replica, first.url, second.url, superuser, on_replica)


def _copy(superuser: str, data: Path) -> None:
    parts = urlsplit(superuser)
    words = [str(programs_of(NEWEST) / "pg_basebackup"), "-D", str(data), "-R", "-X", "stream", "-c", "fast", "--no-sync"]
    words += ["-h", str(parts.hostname), "-p", str(parts.port), "-U", str(parts.username)]
    done = subprocess.run(words, env={**ENV, "PGPASSWORD": str(parts.password)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _answers(url: str) -> bool:
    with suppress(psycopg2.OperationalError):
        return bool(execute(url, "SELECT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')") == [(True,)])
    return False
