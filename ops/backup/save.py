"""`backup`: copy Redis, then dump PostgreSQL, then write the manifest."""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from errno import EDQUOT, ENOSPC
from pathlib import Path

from config import VERSION
from db.backups import DatabaseFacts, DatabaseSnapshot
from db.bus import PLAIN, BusFacts, BusSetup, RestoredBus
from db.postgres import StoreError
from db.timestamps import format_time
from ops.backup import manifest as manifests
from ops.backup import programs, redis_copy
from ops.backup.manifest import CLUSTER, DUMP, REDIS, Kind, Manifest
from ops.backup.progress import Say, Step
from ops.private_files import sync
from ops.process import StartError, Unfit

_MARKS = "_marks"  # tables of work to do: their rows come and go within a second

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Sources:
    """The servers to save.

    `replication_url` is of a role that may copy the whole cluster. `redis_dir` is the data
    directory of Redis; None leaves Redis out.
    """

    database_url: str = field(repr=False)
    replication_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    redis_dir: Path | None
    embedded: bool  # the PostgreSQL of the wheel
    setup: BusSetup = PLAIN


@dataclass(frozen=True, slots=True)
class _Database:
    facts: DatabaseFacts
    rows: dict[str, int]
    dumped_by: str


def save(sources: Sources, folder: Path, kind: Kind, clock: Clock, say: Say) -> Manifest:
    """Save the servers into `folder`, which must not exist or be empty; return the manifest.

    The system may be running. A failure leaves no file. Raises `Unfit`, `StartError`, `StopAsked`
    and the errors of store and bus.
    """
    with _new_folder(folder):
        created = format_time(clock())
        bus = _bus_facts(sources, clock)
        if sources.redis_dir is not None:
            redis_copy.copy(sources.redis_dir, folder / REDIS, Step(say, "copying the append-only file of Redis").advance)
        database = (_dump if kind == "dump" else _copy_cluster)(sources, folder, say)
        files = [path for path in folder.rglob("*") if path.is_file()]
        _make_private(files)
        made = Manifest(
            tickwire=VERSION,
            created=created,
            kind=kind,
            postgresql=database.facts.version,
            dumped_by=database.dumped_by,
            redis=bus.version if sources.redis_dir is not None else None,
            timescaledb=database.facts.timescaledb,
            owner=database.facts.owner,
            roles=database.facts.roles,
            migrations=database.facts.migrations,
            rows=database.rows,
            epoch=bus.epoch,
            seq=bus.seq if sources.redis_dir is not None else {},
            files=manifests.digests(folder, files, Step(say, "computing the digests").advance),
        )
        made.write(folder)
        return made


@contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """Create the folder for the block; remove what the block has written if it raises.

    A lock of the folder keeps two backups apart: the one that fails would remove the other.
    """
    existed = folder.exists()
    if existed and (not folder.is_dir() or any(folder.iterdir())):
        raise Unfit(_not_empty(folder))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        programs.private_folder(folder)
        lock = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise Unfit(f"{folder} cannot be made ({error.strerror}): name another directory") from error
    try:
        _lock(lock, folder)
        with _emptied_after_a_failure(folder, existed):
            yield
    finally:
        os.close(lock)


def _lock(descriptor: int, folder: Path) -> None:
    """Lock an empty folder; raise `Unfit` if another backup has it or has filled it meanwhile."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Unfit(f"another backup writes into {folder}: name another directory") from None
    except OSError:
        pass  # NFS locks no directory
    if not folder.is_dir() or any(folder.iterdir()):
        raise Unfit(_not_empty(folder))


@contextmanager
def _emptied_after_a_failure(folder: Path, existed: bool) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not existed:
            folder.rmdir()
        if isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT):
            raise StartError(f"the disk of {folder} is full: free some room, or name another directory") from error
        raise


def _not_empty(folder: Path) -> str:
    if (folder / manifests.FILE).is_file():
        return f"{folder} holds a backup: name a new directory, or add --verify to prove that backup"
    return f"{folder} is not an empty directory: name a new one, or delete the remains of an interrupted backup"


def _bus_facts(sources: Sources, clock: Clock) -> BusFacts:
    with closing(RestoredBus(sources.redis_url, clock, setup=sources.setup)) as bus:
        return bus.facts()


def _dump(sources: Sources, folder: Path, say: Say) -> _Database:
    """Write the dump; the rows are counted meanwhile, in the same snapshot."""
    with closing(DatabaseSnapshot(sources.database_url)) as snapshot:
        facts = snapshot.facts()
        program = programs.choose("pg_dump", facts.major, embedded=sources.embedded)
        words, env = programs.connection(sources.database_url, embedded=sources.embedded)
        argv = (str(program.path), "-Fc", "--no-password", f"--snapshot={snapshot.name}", f"--file={folder / DUMP}", "-d", words)
        step = Step(say, "dumping PostgreSQL")
        with _counting(snapshot) as rows:
            programs.run(argv, env, watch=lambda: step.watch(folder / DUMP))
        sync(folder / DUMP)
        return _Database(facts, rows(), program.version)


@contextmanager
def _counting(snapshot: DatabaseSnapshot) -> Iterator[Callable[[], dict[str, int]]]:
    """Count the rows in a thread during the block; the value returns them, after the block.

    The thread ends with its count; an error in the block cancels the statement.
    """
    found: list[dict[str, int] | StoreError] = []

    def count() -> None:
        try:
            found.append(snapshot.rows())
        except StoreError as error:
            found.append(error)

    def rows() -> dict[str, int]:
        [answer] = found
        if isinstance(answer, StoreError):
            raise answer
        return answer

    thread = threading.Thread(target=count, name="row-count", daemon=True)
    thread.start()
    try:
        yield rows
    except BaseException:
        snapshot.cancel()
        raise
    finally:
        thread.join()


def _copy_cluster(sources: Sources, folder: Path, say: Say) -> _Database:
    """Write the copy of the whole cluster; of each table it has at least the returned rows.

    The copy shows the moment of its end, which no snapshot has: rows are counted before and after.
    """
    facts, before = _facts_and_rows(sources)
    program = programs.choose("pg_basebackup", facts.major, embedded=sources.embedded)
    words, env = programs.connection(sources.replication_url, embedded=sources.embedded)
    target = folder / CLUSTER
    step = Step(say, "copying the cluster of PostgreSQL")
    argv = (str(program.path), "-c", "fast", "-X", "stream", "-Ft", "-z", "--no-password", "-D", str(target), "-d", words)
    programs.run(argv, env, watch=lambda: step.watch(target))
    _, after = _facts_and_rows(sources)
    rows = {table: min(count, after.get(table, 0)) for table, count in before.items() if not table.endswith(_MARKS)}
    return _Database(facts, rows, program.version)


def _facts_and_rows(sources: Sources) -> tuple[DatabaseFacts, dict[str, int]]:
    with closing(DatabaseSnapshot(sources.database_url)) as snapshot:
        return snapshot.facts(), snapshot.rows()


def _make_private(files: list[Path]) -> None:
    for file in files:
        file.chmod(0o600)
        sync(file)
    for folder in {file.parent for file in files}:
        folder.chmod(0o700)
        sync(folder)
