"""Lines of recorded text files: plain, gzip or zip, UTF-8 or UTF-16, whole or damaged.

The first bytes decide, not the name. A damaged archive gives the lines before the damage.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

from jobs.feeds.base import BadInput, SourceError, as_source_error
from jobs.feeds.files.archives import Damage, NotText, unpacked

Item = TypeVar("Item")

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_BUFFER_BYTES = 1 << 16


class Undamaged(Generic[Item]):
    """The items of a file up to its damage; `damage` is the error then, else None."""

    def __init__(self, items: Iterable[Item]) -> None:
        self.damage: SourceError | None = None
        self._items = items

    def __iter__(self) -> Iterator[Item]:
        try:
            yield from self._items
        except SourceError as error:
            self.damage = error

    def raise_damage(self) -> None:
        """Raise the error at which the items ended, if there is one."""
        if self.damage is not None:
            raise self.damage


def text_lines(file: Path, taken: Callable[[int], object] = lambda position: None) -> Iterator[str]:
    """The lines of a text file; `taken` is called with the number of bytes read.

    Raises `SourceError` if the file cannot be read, and after the last whole line if the file is
    damaged.
    """
    number = 0
    try:
        with file.open("rb") as stream:
            content = _Content(stream, file.name, taken)
            for line in _decoded(content):
                if content.cut and not line.endswith("\n"):
                    break  # the rest of this line is lost
                number += 1
                yield line
    except OSError as error:
        raise as_source_error(error) from error
    except NotText as error:
        raise as_source_error(BadInput(f"recording {file} is {error}")) from error
    if content.damage is not None:
        raise as_source_error(BadInput(f"recording {file} is damaged after line {number}: {content.damage}"))


def _decoded(content: _Content) -> io.TextIOWrapper:
    """The text; each of \\n, \\r\\n and \\r ends a line."""
    buffered = io.BufferedReader(content, _BUFFER_BYTES)
    encoding = "utf-16" if buffered.peek(2)[:2] in _UTF_16 else "utf-8-sig"
    return io.TextIOWrapper(buffered, encoding=encoding, errors="replace")


class _Content(io.RawIOBase):
    """The bytes of a file, unpacked.

    They end at a damage of the archive. `damage` is its description then, else None; `cut` is True
    if bytes of the text are lost.
    """

    def __init__(self, file: BinaryIO, name: str, taken: Callable[[int], object]) -> None:
        self.damage: str | None = None
        self.cut = False
        self._file = file
        self._taken = taken
        self._blocks = unpacked(file, name)
        self._block = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._block:
            try:
                self._block = memoryview(next(self._blocks))
            except StopIteration:
                return 0
            except Damage as error:
                self.damage, self.cut = str(error), error.cut
                return 0
            self._taken(self._file.tell())
        size = min(len(buffer), len(self._block))
        buffer[:size] = self._block[:size]
        self._block = self._block[size:]
        return size
