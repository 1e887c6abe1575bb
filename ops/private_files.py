"""Small files that must be whole and private: passwords, markers, `run.json`."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_private(file: Path, text: str) -> None:
    """Replace `file` by `text` in one step, for its owner's eyes only, on disk when this returns."""
    new = file.with_name(file.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)
    sync(file.parent)


def sync(folder: Path) -> None:
    """Bring what was created, renamed or deleted in `folder` onto the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def secret(file: Path) -> str:
    """The password kept in `file`, made when it is not there yet."""
    if not file.is_file():
        write_private(file, secrets.token_hex(24))
    return file.read_text().strip()
