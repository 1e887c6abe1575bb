"""The steps of `upgrade-database`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from db.backups import DatabaseSnapshot
from db.cluster_facts import ClusterFacts, read_cluster
from ops import embedded
from ops.backup import programs
from ops.backup.progress import Say, Step, size_text
from ops.children import hold_stop_signals, stop_asked
from ops.embedded import moves
from ops.embedded.postgres import NEWEST
from ops.embedded.unfinished import NEW, undo_upgrade
from ops.private_files import sync
from ops.process import StartError, StopAsked
from ops.supervisor import Supervisor
from ops.upgrade import clusters as parts
from ops.upgrade.clusters import KEPT, OLD_VERSION, Clusters


@dataclass(frozen=True, slots=True)
class Choices:
    """The options of the command."""

    backup: bool = True
    checksums: bool = False


@dataclass(frozen=True, slots=True)
class Upgraded:
    """The result: rows by table, the file of the dump, and the old data."""

    rows: dict[str, int]
    dump: Path | None
    kept: Path


@dataclass(frozen=True, slots=True)
class _Before:
    """The old cluster as it was."""

    facts: ClusterFacts
    rows: dict[str, int]
    dump: Path | None


def upgrade(hub_dir: Path, choices: Choices, clock: Callable[[], datetime], say: Say, lock: int) -> Upgraded:
    """Upgrade the data of PostgreSQL 16 to 18; `lock` holds the data directory.

    Raises `Unfit` if that is not possible, and `StartError` or `StopAsked` if a step ends early:
    before the renames the old data are then usable as before.
    """
    hub_dir = hub_dir.resolve()
    hold_stop_signals()
    moves.finish(hub_dir)
    undo_upgrade(hub_dir)
    parts.check_version(hub_dir)
    embedded.check(hub_dir)
    before = _look(hub_dir, choices, clock, say, lock)
    clusters = parts.clusters_of(hub_dir)
    try:
        _make_new(clusters, before.facts, say)
    except BaseException:
        undo_upgrade(hub_dir)
        raise
    say(f"replacing the data of version {OLD_VERSION} …")
    moves.move(hub_dir, [("postgres", KEPT), (NEW, "postgres")])
    rows = _finish(clusters, before, say, lock)
    if choices.checksums:
        say("adding checksums to all pages …")
        parts.enable_checksums(clusters)
    return Upgraded(rows, before.dump, hub_dir / KEPT)


def _look(hub_dir: Path, choices: Choices, clock: Callable[[], datetime], say: Say, lock: int) -> _Before:
    """Start the old version, read its forms, count its rows and dump it."""
    say(f"starting PostgreSQL {OLD_VERSION} …")
    with Supervisor(inherit=(lock,)) as supervisor:
        database = embedded.postgres(hub_dir)
        supervisor.start(database)
        facts = read_cluster(database.url)
        parts.check_space(hub_dir, facts.size_bytes if choices.backup else 0)
        with closing(DatabaseSnapshot(database.url)) as snapshot:
            rows = snapshot.rows()
        dump = _dump(hub_dir, database.url, f"{clock():%Y%m%dT%H%M%SZ}", say) if choices.backup else None
    return _Before(facts, rows, dump)


def _dump(hub_dir: Path, url: str, time: str, say: Say) -> Path:
    """Dump the database into the data directory; return the file."""
    folder = hub_dir / "backups"
    programs.private_folder(folder)
    file = folder / f"before-{NEWEST}-{time}.dump"
    part = file.with_suffix(".part")
    step = Step(say, "dumping PostgreSQL")
    program = programs.choose("pg_dump", NEWEST, embedded=True)
    words, env = programs.connection(url, embedded=True)
    try:
        argv = (str(program.path), "-Fc", "--no-password", f"--file={part}", "-d", words)
        programs.run(argv, env, watch=lambda: step.watch(part))
        part.chmod(0o600)
        part.rename(file)
    finally:
        part.unlink(missing_ok=True)
    sync(folder)
    say(f"dumped {size_text(file.stat().st_size)} to {file}")
    return file


def _make_new(clusters: Clusters, facts: ClusterFacts, say: Say) -> None:
    """Make the new cluster and move the contents into it."""
    parts.check_space(clusters.hub_dir, 0)
    say(f"creating the data of PostgreSQL {NEWEST} …")
    parts.init_new(clusters, facts)
    if stop_asked():
        raise StopAsked
    say("linking the data (pg_upgrade) …")
    parts.link(clusters)
    if stop_asked():
        raise StopAsked


def _finish(clusters: Clusters, before: _Before, say: Say, lock: int) -> dict[str, int]:
    """Start the new version, complete its statistics, compare the rows; return them."""
    say(f"starting PostgreSQL {NEWEST} and analyzing …")
    with Supervisor(inherit=(lock,)) as supervisor:
        database = embedded.postgres(clusters.hub_dir)
        supervisor.start(database)
        parts.analyze(clusters, str(urlsplit(database.url).port))
        with closing(DatabaseSnapshot(database.url)) as snapshot:
            rows = snapshot.rows()
    if rows != before.rows:
        tables = sorted(table for table, count in before.rows.items() if rows.get(table) != count)
        saved = f"; {before.dump} has the old rows" if before.dump else ""
        raise StartError(f"the rows of {', '.join(tables)} differ after the upgrade{saved}")
    return rows
