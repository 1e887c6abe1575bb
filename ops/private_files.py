"""Small files that must be complete and private: passwords, markers, `run.json`."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_private(file: Path, text: str) -> None:
    """Replace the content of `file` atomically.

    Only its owner can read it, and it is on disk on return.
    """
    new = file.with_name(file.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)
    sync(file.parent)


def sync(place: Path) -> None:
    """Write the content of a file, or the entries of a folder, to the disk."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def secret(file: Path) -> str:
    """Return the password in `file`; create it if there is no such file."""
    if not file.is_file():
        write_private(file, secrets.token_hex(24))
    return file.read_text().strip()
