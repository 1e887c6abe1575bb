"""The duties of the jobs processes: their names, which follow from the settings. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

from config.venues import VENUES, SourceSpec, with_prices

if TYPE_CHECKING:
    from config.settings import Settings

SOURCE, WRITE, GAPS = "source:", "write:", "gaps:"  # beginnings of names
ROLL_UP, PUBLISH_ALERTS, TIMED_JOBS = "roll_up", "publish_alerts", "timed"
_SPLIT = "binance"  # the venue whose symbols BINANCE_SPLIT divides


@dataclass(frozen=True, slots=True)
class SourcePart:
    """A source, or the part `index` of `count` of its symbols. One process runs it at a time.

    `number` distinguishes entries of `SOURCES` with equal names.
    """

    spec: SourceSpec
    index: int = 0
    count: int = 1
    number: int = 1

    @property
    def name(self) -> str:
        """Name of the part among all parts: `oanda`, `binance:0/4`."""
        name = self.spec.name if self.number == 1 else f"{self.spec.name}#{self.number}"
        return name if self.count == 1 else f"{name}:{self.index}/{self.count}"

    @property
    def duty(self) -> str:
        """The duty of its process."""
        return f"{SOURCE}{self.name}"

    def has(self, symbol: str) -> bool:
        """Return True if the symbol belongs to this part."""
        return self.count == 1 or crc32(symbol.encode()) % self.count == self.index


def parts_of(sources: Iterable[SourceSpec], split: int) -> tuple[SourcePart, ...]:
    """The parts of these sources, `split` of them for Binance."""
    seen = Counter[str]()
    found = []
    for spec in sources:
        seen[spec.name] += 1
        count = split if spec.kind == _SPLIT else 1
        found += [SourcePart(spec, index, count, seen[spec.name]) for index in range(count)]
    return tuple(found)


def source_of(part: str) -> str:
    """Name of the source to which a part belongs: `binance` for `binance:0/4`."""
    name, _, place = part.rpartition(":")
    index, _, count = place.partition("/")
    return name if index.isdecimal() and count.isdecimal() else part


def duties_of(sources: Sequence[SourceSpec], *, split: int = 1, shards: int = 1) -> tuple[str, ...]:
    """All duties, each once; `sources` are those with prices."""
    histories = dict.fromkeys(VENUES[spec.kind].name for spec in sources if VENUES[spec.kind].history is not None)
    return (
        *(part.duty for part in parts_of(sources, split)),
        *(f"{WRITE}{shard}" for shard in range(shards)),
        *(f"{GAPS}{name}" for name in histories),
        *(ROLL_UP, PUBLISH_ALERTS, TIMED_JOBS),
    )


def duties_of_settings(settings: Settings, has_books: Callable[[Path], bool]) -> tuple[str, ...]:
    """All duties of the jobs processes with these settings.

    `has_books` is the test for recordings of order books, which the process `books` plays.
    """
    return duties_of(with_prices(settings.sources, has_books), split=settings.binance_split, shards=settings.bus_shards)


def may_take(globs: Sequence[str], duty: str) -> bool:
    """Return True if a process with these JOBS_DUTIES may take the duty; without any it may."""
    return not globs or any(fnmatchcase(duty, glob) for glob in globs)
