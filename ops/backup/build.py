"""New servers of the wheel from a backup, in a directory of their own."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from config.secrets import SCRUBBER
from db import migrate
from db.backups import DatabaseSnapshot
from db.bus import PLAIN, BusSetup, RestoredBus
from ops import embedded
from ops.backup.load import load
from ops.backup.manifest import CLUSTER, REDIS, Manifest
from ops.backup.progress import Say, Step
from ops.embedded.single_user import set_password
from ops.process import StartError
from ops.running import prepare_data_dir
from ops.supervisor import Supervisor


@dataclass(frozen=True, slots=True)
class Target:
    """The place of a restore: a data directory, and the operator's own servers in their place."""

    hub_dir: Path
    database_url: str | None = field(default=None, repr=False)  # None: PostgreSQL of the wheel
    redis_url: str | None = field(default=None, repr=False)  # None: Redis of the wheel
    setup: BusSetup = PLAIN


@dataclass(frozen=True, slots=True)
class Restored:
    """The result: rows by table, stream -> records that will be delivered, the new migrations."""

    rows: dict[str, int]
    deliveries: dict[str, int]
    migrations: tuple[str, ...]


def build(
    target: Target, saved: Path, manifest: Manifest, clock: Callable[[], datetime], say: Say, *, inherit: tuple[int, ...] = ()
) -> Restored:
    """Restore the backup `saved`; servers of the wheel run during the call only.

    Their passwords are those in the data directory, or new ones. Raises `StartError` if a step
    fails, or if the rows differ from the manifest.
    """
    prepare_data_dir(target.hub_dir)
    _place_files(target, saved, manifest, say)
    with Supervisor(inherit=inherit) as supervisor:
        database = None if target.database_url else embedded.postgres(target.hub_dir)
        redis = None if target.redis_url else embedded.redis(target.hub_dir, restoring=True)
        supervisor.start(*(server for server in (database, redis) if server))
        database_url = database.url if database else str(target.database_url)
        SCRUBBER.learn((database_url, redis.url if redis else str(target.redis_url)))
        if manifest.kind == "dump":
            load(saved, manifest, database_url, say, embedded=database is not None)
        say("preparing the streams for their writers …")
        deliveries = begin_again(redis.url if redis else str(target.redis_url), clock, target.setup)
        migrations = tuple(migrate.apply(database_url))
        say("counting the rows …")
        rows = counted(database_url)
    compare(manifest, rows)
    return Restored(rows, deliveries, migrations)


def _place_files(target: Target, saved: Path, manifest: Manifest, say: Say) -> None:
    if manifest.kind == "physical" and not target.database_url:
        _unpack(target.hub_dir, saved / CLUSTER, say)
        set_password(target.hub_dir)
    if manifest.redis is not None and not target.redis_url:
        shutil.copytree(saved / REDIS, target.hub_dir / "redis")


def begin_again(redis_url: str, clock: Callable[[], datetime], setup: BusSetup = PLAIN) -> dict[str, int]:
    """Let the writers receive everything that the bus has, in a new epoch."""
    with closing(RestoredBus(redis_url, clock, setup=setup, timeout=60.0)) as bus:
        return bus.begin_again()


def counted(url: str) -> dict[str, int]:
    """Return table -> rows."""
    with closing(DatabaseSnapshot(url)) as snapshot:
        return snapshot.rows()


def differences(manifest: Manifest, rows: dict[str, int]) -> list[str]:
    """Return a line for each table with other rows than the manifest has."""
    exact = manifest.kind == "dump"
    return [
        f"{table}: {found} rows, the manifest has {expected}"
        for table, expected in manifest.rows.items()
        if (found := rows.get(table)) is not None and (found != expected if exact else found < expected)
    ]


def compare(manifest: Manifest, rows: dict[str, int]) -> None:
    """Raise `StartError` if the restored rows are not those of the manifest."""
    if found := differences(manifest, rows):
        raise StartError("the restored rows differ from the manifest:\n  " + "\n  ".join(found))


def _unpack(hub_dir: Path, cluster: Path, say: Say) -> None:
    """Unpack the copy of a cluster into `hub_dir`/postgres."""
    data = hub_dir / "postgres"
    step = Step(say, "unpacking the cluster of PostgreSQL")
    for archive, target in ((cluster / "base.tar.gz", data), (cluster / "pg_wal.tar.gz", data / "pg_wal")):
        target.mkdir(mode=0o700, exist_ok=True)
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                tar.extract(member, target, filter="data")
                step.advance(member.size)
    for folder in (data, *(path for path in data.rglob("*") if path.is_dir())):
        folder.chmod(0o700)
