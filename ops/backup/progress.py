"""Lines about the progress of long steps, and the check for a stop signal during them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ops.children import stop_asked
from ops.process import StopAsked

EVERY_SECONDS = 5.0  # between two lines of one step

Say = Callable[[str], None]


def size_text(size: float) -> str:
    """Return a size such as `4.2 MB`."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


class Step:
    """One long step: `advance` and `watch` print a line every `EVERY_SECONDS`.

    Both raise `StopAsked` after a stop signal.
    """

    def __init__(self, say: Say, name: str) -> None:
        self._say, self._name, self._done = say, name, 0
        self._due = time.monotonic() + EVERY_SECONDS
        say(f"{name} …")

    def advance(self, size: int) -> None:
        """Note that `size` more bytes are done."""
        self._done += size
        self._look(self._done)

    def watch(self, path: Path) -> None:
        """Look at the size of a file, or of the files of a folder, that another program writes."""
        self._look(size_of(path) if time.monotonic() > self._due else 0)

    def _look(self, size: int) -> None:
        if stop_asked():
            raise StopAsked
        if time.monotonic() > self._due:
            self._due = time.monotonic() + EVERY_SECONDS
            self._say(f"{self._name}: {size_text(size)}")


def size_of(path: Path) -> int:
    """Return the size of a file, or of all files below a folder; 0 if it does not exist."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
