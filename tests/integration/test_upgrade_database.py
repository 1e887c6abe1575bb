"""`upgrade-database`: every row of version 16 in 18, and a start after a kill at each step."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psycopg2
import pytest

from db import migrate
from ops import embedded
from ops.embedded.postgres import data_version, init_cluster, programs_of
from ops.embedded.unprivileged import account_for, prefix
from ops.private_files import secret
from ops.process import Unfit
from ops.running import locked, prepare_data_dir
from ops.supervisor import Supervisor
from ops.upgrade.clusters import check_space
from tests.support.full_database import digests, fill
from tests.support.processes import ROOT
from tests.support.servers import equal_passwords, superuser_url
from tests.support.up import Environment, manage

Digests = dict[str, tuple[int, str]]

# A process that upgrades and is killed when it begins the step that argv[2] names; "servers" is
# a moment at which pg_upgrade has started a server, "linked" that at which it has disabled the old
# data, "renames" is between both renames.
KILLED = """
import os, signal, sys, threading, time
from pathlib import Path
from db.timestamps import utc_now
from ops.embedded.held import held
from ops.upgrade.upgrade import Choices, upgrade

hub_dir, step = Path(sys.argv[1]), sys.argv[2]

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def say(text):
    if text.startswith(step):
        kill()

FILES = {"servers": "postgres.new/postmaster.pid", "linked": "postgres/global/pg_control.old"}

def watch():
    while not (hub_dir / FILES[step]).exists():
        time.sleep(0.002)
    kill()

if step in FILES:
    threading.Thread(target=watch, daemon=True).start()
if step == "renames":
    rename = Path.rename
    def once(self, target):
        rename(self, target)
        if Path(target).name == "postgres.16":
            kill()
    Path.rename = once
with held(hub_dir, "test") as lock:
    upgrade(hub_dir, Choices(backup=step == "dumping"), utc_now, say, lock)
"""


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Digests]:
    """A data directory of version 16 with rows in every table, and their digests."""
    hub_dir = tmp_path_factory.mktemp("old") / "var"
    prepare_data_dir(hub_dir)
    equal_passwords(hub_dir)
    secret(hub_dir / "postgres.password")
    initdb = programs_of(16) / "initdb"
    account = account_for(hub_dir / "postgres")
    command = (*prefix(account, initdb, hub_dir, "INT"), str(initdb))
    init_cluster(hub_dir / "postgres", command, account, hub_dir / "postgres.password")
    with Supervisor() as supervisor:
        server = embedded.postgres(hub_dir)
        supervisor.start(server)
        migrate.apply(server.url)
        fill(superuser_url(hub_dir, server.url))
        found = digests(server.url)
    assert {table for table, (rows, _) in found.items() if not rows} == set()
    return hub_dir, found


def copied(old: Path, to: Path) -> Path:
    """Copy the data directory; the owners of the files stay."""
    subprocess.run(["cp", "-a", str(old), str(to)], check=True)
    return to


def started(hub_dir: Path) -> tuple[str, Digests]:
    """Start PostgreSQL as `up` does; return its version and the digests."""
    with locked(hub_dir) as lock, Supervisor(inherit=(lock,)) as supervisor:
        server = embedded.postgres(hub_dir)
        supervisor.start(server)
        connection = psycopg2.connect(server.url)
        version = str(connection.server_version // 10_000)
        connection.close()
        return version, digests(server.url)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_upgrade_keeps_every_row(old: tuple[Path, Digests], tmp_path: Path) -> None:
    hub_dir = copied(old[0], tmp_path / "var")
    environment = Environment(hub_dir)
    done = manage(environment, "upgrade-database", "--checksums")
    assert done.returncode == 0, done.stderr
    assert "rm -r" in done.stdout
    assert started(hub_dir) == ("18", old[1])
    [dump] = (hub_dir / "backups").iterdir()
    assert dump.name.startswith("before-18-")
    assert not any(file.read_text().strip() in done.stdout + done.stderr for file in hub_dir.glob("*.password"))
    again = manage(environment, "upgrade-database")
    assert (again.returncode, "nothing to upgrade" in again.stderr) == (2, True), again.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kill_at_each_step_keeps_every_row(old: tuple[Path, Digests], tmp_path: Path) -> None:
    hub_dir = copied(old[0], tmp_path / "var")
    after = tmp_path / "after"
    for step, version in (
        ("dumping", "16"), ("servers", "16"), ("linked", "16"), ("replacing", "16"), ("renames", "18"),
    ):  # fmt: skip
        killed_at(hub_dir, step)
        if step == "replacing":
            assert (hub_dir / "postgres.new").is_dir()
        assert started(hub_dir) == (version, old[1]), step
        assert not (hub_dir / "postgres.new").exists()
    copied(old[0], after)
    killed_at(after, "starting PostgreSQL 18")
    assert started(after) == ("18", old[1])
    shutil.rmtree(after)


def killed_at(hub_dir: Path, step: str) -> None:
    """Run an upgrade until it kills itself, and let what it has started end."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(hub_dir), step], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, (step, done.stderr)


def test_upgrade_beside_a_running_system_is_refused(old: tuple[Path, Digests]) -> None:
    with locked(old[0]):
        done = manage(Environment(old[0]), "upgrade-database")
    assert (done.returncode, "needs a stopped system" in done.stderr) == (2, True), done.stderr
    assert data_version(old[0]) == 16


def test_full_disk_is_refused(old: tuple[Path, Digests]) -> None:
    """No disk has the room for a dump of a million gigabytes."""
    with pytest.raises(Unfit, match="--no-backup"):
        check_space(old[0], 10**15)


def test_server_of_the_operators_own_is_refused(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "var")
    environment["DATABASE_URL"] = "postgresql://tickwire@127.0.0.1:1/tickwire"
    done = manage(environment, "upgrade-database")
    assert (done.returncode, "DATABASE_URL" in done.stderr) == (2, True), done.stderr
