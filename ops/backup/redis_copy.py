"""The copy of the append-only file of a Redis that may be running."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ops.backup.manifest import CHUNK_BYTES
from ops.backup.programs import private_folder
from ops.process import StartError, Unfit

ONE_FILE = "appendonly.aof"  # Redis 6.2
FOLDER = "appendonlydir"  # Redis 7 and newer
_ATTEMPTS = 5

Each = Callable[[int], None]


def copy(source: Path, target: Path, each: Each) -> None:
    """Copy the append-only file from the data directory `source` into the new folder `target`.

    A copy may end within an entry, which Redis accepts at its start. `each` is called with the
    bytes of each chunk. Raises `Unfit` if there is no such file.
    """
    private_folder(target)
    if (source / FOLDER).is_dir():
        _copy_folder(source / FOLDER, target / FOLDER, each)
    elif (source / ONE_FILE).is_file():
        _copy_file(source / ONE_FILE, target / ONE_FILE, each)
    else:
        raise Unfit(f"{source} has no append-only file ({FOLDER} or {ONE_FILE}): name the data directory of Redis, with `appendonly yes`")


def _copy_folder(source: Path, target: Path, each: Each) -> None:
    """Copy the files in the manifest of Redis 7; repeat that if the manifest changed meanwhile."""
    for _ in range(_ATTEMPTS):
        private_folder(target)
        before = _manifests(source)
        for name, text in before.items():
            _write(target / name, text)
        complete = all(_copy_listed(source / name, target / name, each) for text in before.values() for name in _files(text))
        if complete and _manifests(source) == before:
            return
        for file in target.iterdir():
            file.unlink()
    raise StartError(f"the append-only files in {source} changed during each of {_ATTEMPTS} copies: repeat the command")


def _manifests(folder: Path) -> dict[str, bytes]:
    found = {file.name: file.read_bytes() for file in sorted(folder.glob("*.manifest"))}
    if not found:
        raise Unfit(f"{folder} has no manifest of append-only files: name the data directory of Redis")
    return found


def _files(manifest: bytes) -> list[str]:
    """Return the names in lines such as `file appendonly.aof.1.incr.aof seq 1 type i`.

    Files of the type h, which Redis will delete, are left out.
    """
    names = []
    for line in manifest.decode().splitlines():
        words = line.split()
        fields = dict(zip(words[::2], words[1::2], strict=False))
        if "file" in fields and fields.get("type") != "h":
            names.append(Path(fields["file"].strip('"')).name)
    return names


def _copy_listed(source: Path, target: Path, each: Each) -> bool:
    """Copy one file; return False if a rewrite has deleted it."""
    try:
        _copy_file(source, target, each)
    except FileNotFoundError:
        return False
    return True


def _copy_file(source: Path, target: Path, each: Each) -> None:
    """Copy the bytes that the file has now; a rewrite replaces the file and not its content."""
    with source.open("rb") as stream:
        left = os.fstat(stream.fileno()).st_size
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as output:
            while left > 0 and (chunk := stream.read(min(CHUNK_BYTES, left))):
                output.write(chunk)
                left -= len(chunk)
                each(len(chunk))
            output.flush()
            os.fsync(output.fileno())


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
