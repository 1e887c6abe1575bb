"""Files for browsers, read from a folder at their first request and again after each change."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from werkzeug.security import safe_join

_PLAIN = "text/plain; charset=utf-8"  # NOTICE and LICENSE.*
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class File:
    """Content of a file; `tag` is a digest of it, `version` differs after each change."""

    content: bytes
    kind: str
    tag: str
    version: tuple[int, int]


class Files:
    """The files below one folder. Threads may share it.

    A kept file is read again if its time or its size has changed: a checkout serves edits at once.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[str, File] = {}  # real path -> content

    def read(self, name: str) -> File | None:
        """Return the file with this name below the folder; None if there is none.

        Hidden files and links that leave the folder count as none.
        """
        path = self._path(name)
        if path is None:
            return None
        try:
            state = os.stat(path)
            version = (state.st_mtime_ns, state.st_size)
            kept = self._kept.get(path)
            if kept is None or kept.version != version:
                kept = self._kept[path] = _read(path, version)
        except OSError:  # no such file, or a folder
            return None
        return kept

    def _path(self, name: str) -> str | None:
        joined = None if "\0" in name else safe_join(str(self._folder), name)
        if joined is None or any(part.startswith(".") for part in name.split("/")):
            return None
        real = os.path.realpath(joined)
        return real if real.startswith(os.path.realpath(self._folder) + os.sep) else None


def digest(content: bytes) -> str:
    """Return a short digest, for an ETag."""
    return hashlib.sha256(content).hexdigest()[:24]


def _read(path: str, version: tuple[int, int]) -> File:
    content = Path(path).read_bytes()
    return File(content, _TYPES.get(Path(path).suffix, _PLAIN), digest(content), version)
