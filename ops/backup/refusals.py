"""The reasons for which a backup is not restored, found before anything changes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from config import VERSION
from db.backups import Target, major_of, read_target, unknown_migrations
from ops.backup.manifest import Manifest
from ops.backup.progress import size_text
from ops.embedded.environment import FREE_BYTES, free_bytes
from ops.embedded.postgres import NEWEST
from ops.embedded.redis import program as redis_program
from ops.process import Unfit


def check_version(manifest: Manifest) -> None:
    """Raise `Unfit` if a newer Tickwire made the backup."""
    unknown = unknown_migrations(manifest.migrations)
    if _numbers(manifest.tickwire) > _numbers(VERSION) or unknown:
        more = f", which has the migration {unknown[-1]}" if unknown else ""
        raise Unfit(f"the backup is of Tickwire {manifest.tickwire}{more}; this is {VERSION}: install that version first")


def check_embedded_database(manifest: Manifest) -> None:
    """Raise `Unfit` if the PostgreSQL of the wheel cannot hold the backup."""
    if manifest.timescaledb is not None:
        raise Unfit(
            f"the backup has TimescaleDB {manifest.timescaledb}, and the embedded PostgreSQL has none: "
            "set DATABASE_URL to an empty database on a server with that version"
        )
    newest = max(major_of(manifest.postgresql), major_of(manifest.dumped_by))
    if newest > NEWEST:
        raise Unfit(f"the backup is of PostgreSQL {newest}, the embedded one is {NEWEST}: set DATABASE_URL to a server of that version")


def check_embedded_redis(manifest: Manifest) -> None:
    """Raise `Unfit` if the Redis of the wheel cannot read the copy."""
    ours = redis_version()
    if manifest.redis is not None and _numbers(manifest.redis)[:2] > _numbers(ours)[:2]:
        raise Unfit(
            f"the backup has a copy of Redis {manifest.redis}, the embedded Redis is {ours}: put the copy into a Redis of your own "
            "and set REDIS_URL, see docs/operations.md"
        )


def check_own_database(manifest: Manifest, url: str, setting: str) -> None:
    """Raise `Unfit` if the configured database is not empty, or does not fit the backup."""
    if manifest.kind == "physical":
        raise Unfit(f"{setting}: a physical backup is unpacked into the data directory of your own server, see docs/operations.md")
    target = read_target(url)
    if target.objects:
        raise Unfit(f"{setting}: the database is not empty ({target.objects} tables, views and sequences): name a new, empty database")
    if major_of(target.version) < major_of(manifest.postgresql):
        raise Unfit(
            f"{setting}: the server is PostgreSQL {target.version}, the backup is of {manifest.postgresql}: use that version or newer"
        )
    _check_timescaledb(manifest, target, setting)
    missing = sorted(set(manifest.roles) - set(target.roles))
    if missing:
        statements = " ".join(f"CREATE ROLE {name};" for name in missing)
        raise Unfit(f"{setting}: the rights of the backup name roles that the server does not have: {statements}")


def _check_timescaledb(manifest: Manifest, target: Target, setting: str) -> None:
    wanted, installed = manifest.timescaledb, target.timescaledb
    if installed is not None and installed != wanted:
        has = f"TimescaleDB {wanted}" if wanted else "no TimescaleDB"
        raise Unfit(f"{setting}: the database has TimescaleDB {installed}, the backup has {has}: use a database with the same")
    if wanted is not None and installed is None and wanted not in target.timescaledb_versions:
        offered = ", ".join(target.timescaledb_versions) or "none"
        raise Unfit(f"{setting}: the backup needs TimescaleDB {wanted}, the server offers {offered}: use a server with that version")


def check_space(manifest: Manifest, folder: Path) -> None:
    """Raise `Unfit` if the disk of `folder` has less room than the files of the backup."""
    free = free_bytes(folder)
    if free < manifest.total_bytes + FREE_BYTES:
        needed = size_text(manifest.total_bytes + FREE_BYTES)
        raise Unfit(f"the disk of {folder} has {size_text(free)} left, and the restore needs {needed} at least: free some")


def redis_version() -> str:
    """Return the version of the Redis of the wheel, such as 6.2.14."""
    done = subprocess.run((str(redis_program()), "--version"), capture_output=True, text=True, check=False, timeout=30)
    found = re.search(r"v=(\S+)", done.stdout)
    return found[1] if found else "0"


def _numbers(version: str) -> tuple[int, ...]:
    """Return (1, 4, 0) for 1.4.0rc1."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
