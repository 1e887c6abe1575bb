"""New recordings: a file is checked line by line, then kept under its name, whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from db.scenarios.model import is_recording_name
from db.scenarios.recording import check_recording
from db.scenarios.unpacking import lines_of, unpacked

NAME_RULE = "must be 1 to 80 of A-Z, a-z, 0-9, _, . and -, without a path"
_CHUNK_BYTES = 2**16
_ABANDONED_SECONDS = 600.0  # the copy of 64 MiB takes less than one
_UNFINISHED = "~upload-"  # prefix of files that are not complete; no recording has such a name


class BadName(ValueError):
    """No name of a recording."""


class RecordingExists(ValueError):
    """There is a recording with this name."""


def keep_recording(file: IO[bytes], name: str, folders: Sequence[Path], instruments: Collection[str]) -> dict[str, Any]:
    """Check a gzip file of raw lines and keep it in the last of `folders`; return its summary.

    `file` is seekable and at its begin. `instruments` are those that exist. A name is taken if one
    of the folders has it. Raises `BadName`, `RecordingExists`, `NotGzip`, `TooLarge`, `BadLine`,
    `BadRecording`, and `OSError` if the file cannot be written. Then nothing is kept.
    """
    if not is_recording_name(name):
        raise BadName(NAME_RULE)
    _refuse_taken(name, folders)
    digest = hashlib.sha256()
    facts = check_recording(name, lines_of(unpacked(_chunks(file, digest))), instruments)
    file.seek(0)
    _keep(file, name, folders)
    return facts.summary(digest.hexdigest())


def remove_unfinished(folder: Path, now: datetime) -> None:
    """Remove the parts of files that a killed process has left; other processes may write."""
    for path in folder.glob(f"{_UNFINISHED}*"):
        with contextlib.suppress(FileNotFoundError):
            if now.timestamp() - path.stat().st_mtime > _ABANDONED_SECONDS:
                path.unlink()


def _chunks(file: IO[bytes], digest: Any) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
        yield chunk


def _refuse_taken(name: str, folders: Sequence[Path]) -> None:
    for folder in folders:
        if os.path.lexists(folder / name):
            raise RecordingExists(f"there is a recording {name} already: use another name")


def _keep(file: IO[bytes], name: str, folders: Sequence[Path]) -> None:
    """Write the file beside its place, then give it its name, if that is still free."""
    folder = folders[-1]
    folder.mkdir(parents=True, exist_ok=True)
    handle, unfinished = tempfile.mkstemp(prefix=_UNFINISHED, dir=folder)
    try:
        with os.fdopen(handle, "wb") as target:
            shutil.copyfileobj(file, target, _CHUNK_BYTES)
            target.flush()
            os.fsync(target.fileno())
        os.chmod(unfinished, 0o644)  # the process `books` may run as another user
        try:
            os.link(unfinished, folder / name)
        except FileExistsError:
            _refuse_taken(name, folders)
            raise
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(unfinished)
