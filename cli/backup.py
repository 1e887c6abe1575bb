"""`manage.py backup` and `restore`."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from cli.common import chosen_settings, plain_errors, say, stopping
from config.settings import Settings
from db.timestamps import utc_now
from ops.backup import manifest as manifests
from ops.backup import restore as restoring
from ops.backup.build import Restored
from ops.backup.manifest import Kind, Manifest
from ops.backup.progress import size_text
from ops.backup.save import save
from ops.backup.sources import open_sources
from ops.embedded.held import held

log = logging.getLogger(__name__)

_FOLDER = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))


def _start(command: str, folder: Path) -> tuple[Settings, Path]:
    """Return the settings, and the folder as an absolute path."""
    folder = folder.resolve()  # before `chosen_settings` changes the working directory
    return chosen_settings(command), folder


@click.command()
@_FOLDER
@click.option("--physical", is_flag=True, help="Copy the whole PostgreSQL cluster (pg_basebackup) in place of a dump.")
@click.option("--redis-dir", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Data directory of your own Redis.")
@click.option("--verify", is_flag=True, help="Prove the backup by starting it. If DIR holds a backup already, only prove that one.")
def backup(folder: Path, physical: bool, redis_dir: Path | None, verify: bool) -> None:
    """Save Redis and PostgreSQL into DIR while the system runs.

    DIR must not exist or be empty. Copies Redis first and dumps PostgreSQL second, so that DIR has
    every record that was accepted before. Writes manifest.json last: a directory without it is no
    backup. Passwords are not saved. `manage.py restore` restores it.
    """
    redis_dir = redis_dir and redis_dir.resolve()
    chosen, folder = _start("backup", folder)
    with plain_errors(), stopping("stopped; nothing was saved"):
        if verify and (folder / manifests.FILE).is_file():
            manifest = manifests.read(folder)
        else:
            manifest = _save(chosen, folder, "physical" if physical else "dump", redis_dir)
        if verify:
            done = restoring.verify(chosen, folder, manifest, utc_now, say)
            _print_rows(manifest, done)
            click.echo(f"{folder} is proven: PostgreSQL and Redis started on it")


def _save(chosen: Settings, folder: Path, kind: Kind, redis_dir: Path | None) -> Manifest:
    if chosen.redis_url and redis_dir is None:
        log.warning("Redis is left out of the backup: --redis-dir names its data directory")
    if redis_dir is not None and not chosen.redis_url:
        raise click.UsageError("--redis-dir is for a Redis of your own: the embedded Redis is found without it")
    with open_sources(chosen, redis_dir) as sources:
        manifest = save(sources, folder, kind, utc_now, say)
    for name, file in manifest.files.items():
        click.echo(f"{name:<40}{size_text(file.bytes):>12}")
    rows = sum(manifest.rows.values())
    click.echo(f"saved {rows} rows of {len(manifest.rows)} tables, {size_text(manifest.total_bytes)}, in {folder}")
    return manifest


@click.command()
@_FOLDER
@click.option("--yes", is_flag=True, help="Do not ask before the data are replaced.")
def restore(folder: Path, yes: bool) -> None:
    """Restore the backup in DIR; the system must not run.

    The embedded servers are made anew: the old data are renamed to postgres.before-TIME and
    redis.before-TIME in HUB_DATA_DIR. A configured database must be empty. Exits with 2, and
    changes nothing, if the backup does not fit. The next start begins a new epoch: clients get
    `recovered: false`, and the writers store what the copy of Redis has and the dump has not.
    """
    chosen, folder = _start("restore", folder)
    with plain_errors(), stopping("stopped; nothing was changed"):
        manifest = manifests.read(folder)
        with held(chosen.hub_data_dir, "a restore") as lock:
            restoring.check(chosen, folder, manifest, utc_now, say)
            if not yes:
                click.confirm(_question(chosen, manifest), abort=True, err=True)
            done = restoring.restore(chosen, folder, manifest, utc_now, say, lock)
    _print_rows(manifest, done)
    for name in done.migrations:
        click.echo(f"applied {name}")
    for stream, records in done.deliveries.items():
        if records:
            click.echo(f"{stream}: {records} records go to the store again at the next start")
    if chosen.redis_url and manifest.redis is None:
        log.warning("the backup has no copy of Redis; the epoch of the configured Redis has ended")
    click.echo(f"restored {sum(manifest.rows.values())} rows, {size_text(manifest.total_bytes)}; start with: manage.py up")


def _question(chosen: Settings, manifest: Manifest) -> str:
    place = chosen.direct_setting if chosen.database_url else f"the embedded servers of {chosen.hub_data_dir}"
    return f"Restore the backup of {manifest.created} ({sum(manifest.rows.values())} rows) into {place}?"


def _print_rows(manifest: Manifest, done: Restored) -> None:
    for table, expected in manifest.rows.items():
        if expected or done.rows.get(table):
            click.echo(f"{table:<32}{expected:>12} saved {done.rows.get(table, 0):>12} restored")
