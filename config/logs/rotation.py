"""Rotation of log files that other processes append to: copy, then truncate.

A process that appends writes to the new end of a truncated file, so that it needs no signal. Lines
that are written between the copy and the truncation may be lost.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from config.pacing import Outage

log = logging.getLogger(__name__)

MAX_BYTES = 10_000_000
KEPT_FILES = 5
ROTATION_SECONDS = 60.0  # between two looks


def rotate(file: Path, max_bytes: int | None = None) -> bool:
    """Move the content of a file above `max_bytes` to `FILE.1`; the oldest of five is dropped.

    `max_bytes` is `MAX_BYTES` by default. Return True if it did. Raises `OSError`; the file is then
    as before.
    """
    if not file.is_file() or file.stat().st_size <= (max_bytes or MAX_BYTES):
        return False
    part = numbered(file, 0)
    try:
        with file.open("rb") as source, open(part, "wb", opener=_private) as copy:
            shutil.copyfileobj(source, copy, 1024 * 1024)
            copy.flush()
            for number in range(KEPT_FILES - 1, 0, -1):
                if numbered(file, number).exists():
                    numbered(file, number).replace(numbered(file, number + 1))
            part.replace(numbered(file, 1))
            shutil.copyfileobj(source, copy)  # the lines that were written meanwhile
            copy.flush()
            os.truncate(file, 0)
    finally:
        part.unlink(missing_ok=True)
    return True


def numbered(file: Path, number: int) -> Path:
    """Return the path of an older file: 1 is the newest, 0 a copy in progress."""
    return file.with_name(f"{file.name}.{number}")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class Rotation:
    """Rotates the files `*.log` of a folder every `ROTATION_SECONDS`. `look` never raises."""

    def __init__(self, folder: Path, monotonic: Callable[[], float]) -> None:
        self._folder = folder
        self._monotonic = monotonic
        self._due = monotonic()
        self._outage = Outage(log, "the logs are not rotated", monotonic=monotonic)

    def look(self) -> None:
        """Rotate the files that are too large, if it is time."""
        if self._monotonic() < self._due:
            return
        self._due = self._monotonic() + ROTATION_SECONDS
        try:
            for file in sorted(self._folder.glob("*.log")):
                if rotate(file):
                    log.info("rotated a log", extra={"file": str(file)})
        except OSError as error:
            self._outage.failed(error)
        else:
            self._outage.recovered()
