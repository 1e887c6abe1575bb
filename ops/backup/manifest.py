"""`manifest.json`: versions, rows, numbers, and the digest of each file of a backup."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from db.timestamps import parse_time
from ops.private_files import write_private
from ops.process import Unfit

FILE = "manifest.json"
DUMP = "database.dump"  # of `pg_dump -Fc`
CLUSTER = "postgres"  # folder of `pg_basebackup`
REDIS = "redis"  # folder of the append-only file
CHUNK_BYTES = 4 * 1024 * 1024

_TEXTS = ("tickwire", "created", "kind", "postgresql", "dumped_by", "redis", "timescaledb", "owner", "epoch")

Kind = Literal["dump", "physical"]


@dataclass(frozen=True, slots=True)
class SavedFile:
    """Size and SHA-256 of one file."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Content of `manifest.json`.

    `rows` is exact for a dump, and the least number for a physical copy. `redis` is None if Redis
    is not part of the backup. Paths in `files` are relative to the backup.
    """

    tickwire: str
    created: str  # RFC 3339, UTC
    kind: Kind
    postgresql: str
    dumped_by: str  # version of pg_dump or pg_basebackup
    redis: str | None
    timescaledb: str | None
    owner: str
    roles: tuple[str, ...]  # others with rights on the tables
    migrations: tuple[str, ...]
    rows: dict[str, int]
    epoch: str | None
    seq: dict[str, dict[str, int]]  # channel -> topic -> highest number
    files: dict[str, SavedFile]

    def write(self, folder: Path) -> None:
        """Write the file at once, by rename."""
        write_private(folder / FILE, json.dumps(asdict(self), indent=2) + "\n")

    @property
    def created_at(self) -> datetime:
        """The time of the backup."""
        return parse_time(self.created)

    @property
    def total_bytes(self) -> int:
        """The size of all files."""
        return sum(file.bytes for file in self.files.values())


def read(folder: Path) -> Manifest:
    """Return the manifest of the backup in `folder`. Raises `Unfit`."""
    file = folder / FILE
    try:
        found = json.loads(file.read_text())
        return _manifest(found)
    except FileNotFoundError:
        raise Unfit(f"{folder} has no {FILE}: it is no backup, or one that was interrupted") from None
    except OSError as error:
        raise Unfit(f"{file} cannot be read ({error.strerror}): run as its owner") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Unfit(f"{file} is damaged ({type(error).__name__}): use another backup") from error


def _manifest(found: dict[str, Any]) -> Manifest:
    if found["kind"] not in ("dump", "physical"):
        raise ValueError(found["kind"])
    files = {str(path): SavedFile(int(one["bytes"]), str(one["sha256"])) for path, one in found["files"].items()}
    if any(Path(path).is_absolute() or ".." in Path(path).parts for path in files):
        raise ValueError("a path outside of the backup")
    manifest = Manifest(
        **{name: found[name] for name in _TEXTS},
        roles=tuple(found["roles"]),
        migrations=tuple(found["migrations"]),
        rows={str(table): int(rows) for table, rows in found["rows"].items()},
        seq={str(channel): {str(topic): int(last) for topic, last in topics.items()} for channel, topics in found["seq"].items()},
        files=files,
    )
    parse_time(manifest.created)
    return manifest


def digests(folder: Path, paths: Iterable[Path], each: Callable[[int], None]) -> dict[str, SavedFile]:
    """Return relative path -> size and SHA-256. `each` is called with the bytes of each chunk."""
    return {str(path.relative_to(folder)): _digest(path, each) for path in sorted(paths)}


def _digest(path: Path, each: Callable[[int], None]) -> SavedFile:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
            each(len(chunk))
    return SavedFile(size, digest.hexdigest())


def check_files(folder: Path, manifest: Manifest, each: Callable[[int], None]) -> None:
    """Raise `Unfit` unless each file has its size and digest.

    The folders of the servers, which a restore copies as a whole, must have no other file.
    """
    found = {str(path.relative_to(folder)) for part in (REDIS, CLUSTER) for path in (folder / part).rglob("*") if path.is_file()}
    if added := sorted(found - manifest.files.keys()):
        raise Unfit(f"{folder / added[0]} is not in the manifest: remove it, or use another backup")
    for name, saved in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise Unfit(f"{path} is missing: the backup is not complete, use another one")
        if path.stat().st_size != saved.bytes:
            raise Unfit(f"{path} has {path.stat().st_size} bytes, the manifest has {saved.bytes}: use another backup")
    for name, saved in manifest.files.items():
        if _digest(folder / name, each) != saved:
            raise Unfit(f"{folder / name} has changed since the backup (its SHA-256 differs): use another backup")
