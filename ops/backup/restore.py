"""`restore`, and the proof of a backup: checks, new servers beside the old ones, renames."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path

from config.settings import Settings
from db.bus import Bus, BusSetup
from ops import running
from ops.backup import manifest as manifests
from ops.backup import refusals
from ops.backup.build import Restored, Target, build
from ops.backup.manifest import Manifest
from ops.backup.progress import Say, Step
from ops.bus.setup import setup_of
from ops.children import hold_stop_signals
from ops.embedded import moves
from ops.process import Unfit

_NEW = "restore.new"  # the data directory of the new servers, inside of the old one
_ALIVE_MS = 15_000  # since the last heartbeat of a process
_PASSWORDS = "*.password"

Clock = Callable[[], datetime]


def check(chosen: Settings, saved: Path, manifest: Manifest, clock: Clock, say: Say) -> None:
    """Raise `Unfit` if the backup must not be restored. Nothing is changed.

    The caller holds the data directory, so that no system runs there.
    """
    refusals.check_version(manifest)
    if chosen.database_direct_url:
        refusals.check_own_database(manifest, chosen.database_direct_url, chosen.direct_setting)
    else:
        refusals.check_embedded_database(manifest)
    if chosen.redis_url:
        _check_no_process(chosen, clock)
    else:
        refusals.check_embedded_redis(manifest)
    if not (chosen.database_url and chosen.redis_url):
        refusals.check_space(manifest, chosen.hub_data_dir)
    manifests.check_files(saved, manifest, Step(say, "comparing the digests").advance)


def _check_no_process(chosen: Settings, clock: Clock) -> None:
    """Raise `Unfit` if a process of ours uses this Redis, on any machine."""
    with closing(Bus(str(chosen.redis_url), clock, setup=setup_of(chosen))) as bus:
        now_ms = int(clock().timestamp() * 1000)
        alive = sorted(entry.name for entry in bus.processes(now_ms) if now_ms - entry.beat_ms < _ALIVE_MS)
    if alive:
        raise Unfit(f"processes use the Redis of the settings ({', '.join(alive)}): stop them first")


def restore(chosen: Settings, saved: Path, manifest: Manifest, clock: Clock, say: Say, lock: int) -> Restored:
    """Restore the backup into the servers of the settings; `lock` holds the data directory.

    Servers of the wheel are made in a directory of their own, and take the place of the old ones
    when they are complete. The old data are renamed to `*.before-TIME`.
    """
    hub_dir = chosen.hub_data_dir.resolve()
    hold_stop_signals()
    moves.finish(hub_dir)
    new = hub_dir / _NEW
    shutil.rmtree(new, ignore_errors=True)  # of a restore that was killed
    target = Target(new, chosen.database_direct_url, chosen.redis_url, setup_of(chosen))
    try:
        running.prepare_data_dir(new)
        _copy_passwords(hub_dir, new)
        done = build(target, saved, manifest, clock, say, inherit=(lock,))
        moves.move(hub_dir, _moves(hub_dir, target, f"{clock():%Y%m%dT%H%M%SZ}"))
    finally:
        if not (hub_dir / moves.FILE).exists():
            shutil.rmtree(new, ignore_errors=True)
    return done


def verify(chosen: Settings, saved: Path, manifest: Manifest, clock: Clock, say: Say) -> Restored:
    """Prove a backup: start new servers on it in a temporary directory, compare, remove them.

    Raises `Unfit` if a file has changed, or if the programs of the wheel cannot read the backup.
    """
    try:
        refusals.check_version(manifest)
        refusals.check_embedded_database(manifest)
        refusals.check_embedded_redis(manifest)
    except Unfit as error:
        raise Unfit(f"the backup is there and cannot be proven on this machine: {error}") from error
    manifests.check_files(saved, manifest, Step(say, "comparing the digests").advance)
    hold_stop_signals()
    with tempfile.TemporaryDirectory(prefix="tickwire-verify-") as folder:
        Path(folder).chmod(0o711 if os.geteuid() == 0 else 0o700)  # PostgreSQL of root runs as another user
        return build(Target(Path(folder) / "var", setup=BusSetup(shards=chosen.bus_shards)), saved, manifest, clock, say)


def _copy_passwords(hub_dir: Path, new: Path) -> None:
    for file in hub_dir.glob(_PASSWORDS):
        shutil.copy2(file, new / file.name)


def _moves(hub_dir: Path, target: Target, time: str) -> list[moves.Move]:
    """Return the renames: old data aside, new data and new passwords into their place."""
    names = [name for name, url in (("postgres", target.database_url), ("redis", target.redis_url)) if not url]
    wanted: list[moves.Move] = []
    for name in names:
        if (hub_dir / name).exists():
            wanted.append((name, f"{name}.before-{time}"))
        wanted.append((f"{_NEW}/{name}", name))
    fresh = [file.name for file in target.hub_dir.glob(_PASSWORDS) if not (hub_dir / file.name).exists()]
    return [*((f"{_NEW}/{name}", name) for name in fresh), *wanted]
