"""The old and the new cluster of an upgrade, and the programs of both versions."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from db.cluster_facts import ClusterFacts
from ops.backup import programs
from ops.embedded.environment import FREE_BYTES, free_bytes
from ops.embedded.postgres import NEWEST, USER, data_version, init_cluster, programs_of
from ops.embedded.server import ENV
from ops.embedded.unfinished import NEW
from ops.embedded.unprivileged import Account, account_for, prefix
from ops.private_files import secret
from ops.process import Unfit

OLD_VERSION = 16
KEPT = f"postgres.{OLD_VERSION}"  # the old data after the renames
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Clusters:
    """Both clusters in the data directory, and the user that runs their programs."""

    hub_dir: Path
    account: Account | None
    as_account: tuple[str, ...]  # words before a command
    password: str = field(repr=False)  # of the superuser

    @property
    def old(self) -> Path:
        """The data of the old version."""
        return self.hub_dir / "postgres"

    @property
    def new(self) -> Path:
        """The data of the new version, before the renames."""
        return self.hub_dir / NEW


def clusters_of(hub_dir: Path) -> Clusters:
    """Return the clusters of the data directory."""
    hub_dir = hub_dir.resolve()
    account = account_for(hub_dir / "postgres")
    words = prefix(account, programs_of(NEWEST) / "pg_upgrade", hub_dir, "INT")
    return Clusters(hub_dir, account, words, secret(hub_dir / "postgres.password"))


def check_version(hub_dir: Path) -> None:
    """Raise `Unfit` unless the data are of version 16 and the name for the old data is free."""
    data = hub_dir / "postgres"
    version = data_version(hub_dir)
    if version is None:
        raise Unfit(f"{hub_dir} has no data of PostgreSQL: `manage.py up` makes data of version {NEWEST}")
    if version != OLD_VERSION:
        raise Unfit(f"{data} is of PostgreSQL {version}: there is nothing to upgrade, only {OLD_VERSION} becomes {NEWEST}")
    if (hub_dir / KEPT).exists():
        raise Unfit(f"{hub_dir / KEPT} is of an earlier upgrade: delete it or move it away first")


def check_space(hub_dir: Path, dump_bytes: int) -> None:
    """Raise `Unfit` if the disk has not the room for a dump of this size and the new cluster."""
    needed, free = dump_bytes + FREE_BYTES, free_bytes(hub_dir)
    if free < needed:
        raise Unfit(
            f"the disk of HUB_DATA_DIR {hub_dir} has {free // _MEGABYTE} MB left, and the upgrade needs {needed // _MEGABYTE} MB: "
            "free some, or use --no-backup after a backup of your own"
        )


def init_new(clusters: Clusters, facts: ClusterFacts) -> None:
    """Create the new cluster, empty and with the forms of the old one."""
    initdb = (*clusters.as_account, str(programs_of(NEWEST) / "initdb"))
    password_file = clusters.hub_dir / "postgres.password"
    init_cluster(clusters.new, initdb, clusters.account, password_file, user=facts.superuser, options=facts.initdb_options)


def link(clusters: Clusters) -> None:
    """Move the contents of the old cluster into the new one by hard links, with `pg_upgrade`."""
    old, new = programs_of(OLD_VERSION), programs_of(NEWEST)
    with _short_folder(clusters.account) as folder:
        # pg_upgrade writes scripts into its working directory, and its sockets into --socketdir.
        words = ("sh", "-c", 'cd "$0" && exec "$@"', str(folder), str(new / "pg_upgrade"), "--link", f"--socketdir={folder}")
        places = ("-b", str(old), "-B", str(new), "-d", str(clusters.old), "-D", str(clusters.new), "-U", USER)
        env = {**ENV, "PGPASSWORD": clusters.password}
        programs.run((*clusters.as_account, *words, *places), env, name="pg_upgrade", interruptible=False)


@contextmanager
def _short_folder(account: Account | None) -> Iterator[Path]:
    """Yield a private directory with a path that is short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="tw-", dir="/tmp"))  # the path of TMPDIR may be long
    try:
        if account:
            os.chown(folder, account.uid, account.gid)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def enable_checksums(clusters: Clusters) -> None:
    """Add checksums to all pages of the new data, which no server uses."""
    command = (str(programs_of(NEWEST) / "pg_checksums"), "--enable", "-D", str(clusters.hub_dir / "postgres"))
    programs.run((*clusters.as_account, *command), ENV, name="pg_checksums", interruptible=False)


def analyze(clusters: Clusters, port: str) -> None:
    """Collect the statistics that the upgrade has not kept."""
    options = ("--all", "--analyze-in-stages", "--missing-stats-only", "--no-password")
    command = (str(programs_of(NEWEST) / "vacuumdb"), *options, "-h", "127.0.0.1", "-p", port, "-U", USER)
    programs.run(command, {**ENV, "PGPASSWORD": clusters.password})
