"""Recordings of raw Binance lines, checked as a whole: one message a line, in `db.scenarios.lines`.

Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from db.scenarios.lines import BadLine, Entry, read_line

Rule = Literal["spot", "usdm"]
# A recording has one snapshot for each of its connections.
MAX_SNAPSHOTS = 10_000
MAX_LINES = 10_000_000  # the shortest message has 150 bytes; empty lines cost time too
_NS = 1_000_000_000


class BadRecording(ValueError):
    """Each line is a message, but together they are no recording."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts about a recording whose lines are all checked.

    `lines` counts all lines, those of other streams included. `messages` counts the diffs: these
    are the messages of a scenario. `seconds` is the time from the first to the last message
    of a book. `rule` is that of the diffs.
    """

    name: str
    instruments: tuple[str, ...]
    lines: int
    messages: int
    seconds: float
    rule: Rule

    def summary(self, sha256: str) -> dict[str, Any]:
        """The answer to an upload; `sha256` is that of the file."""
        return {
            "recording": self.name,
            "instruments": list(self.instruments),
            "lines": self.lines,
            "messages": self.messages,
            "seconds": round(self.seconds, 3),
            "sha256": sha256,
        }


@dataclass(frozen=True, slots=True)
class Recording:
    """The depth messages, book tickers and snapshots of one file, in their order."""

    facts: Facts
    entries: tuple[Entry, ...]

    @property
    def name(self) -> str:
        return self.facts.name


class LineChecker:
    """Checks the lines of one recording in turn, and holds none of them.

    `instruments` are those that exist; None: any.
    """

    def __init__(self, instruments: Collection[str] | None = None) -> None:
        self._instruments = instruments
        self._lines = self._messages = 0
        self._newest = 0  # receive time, of any line
        self._first: int | None = None  # receive times of entries
        self._last = 0
        self._has_previous: bool | None = None  # None: no diff yet
        self._ranges: dict[str, tuple[int, int]] = {}  # instrument -> lowest and highest id of its diffs
        self._snapshots: list[int] = []  # their ids

    def take(self, line: bytes) -> Entry | None:
        """The message of the next line; None for an empty one, and for a stream of no book.

        Raises `BadLine` if the line is no message, or does not follow the one before it.
        """
        self._lines += 1
        if self._lines > MAX_LINES:
            raise BadLine(self._lines, f"is one above the limit of {MAX_LINES} lines")
        if not line.strip():
            return None
        time, entry = read_line(self._lines, line, self._instruments)
        if time < self._newest:
            raise BadLine(self._lines, "has an earlier receive time than the line before it")
        self._newest = time
        if entry is not None:
            self._first, self._last = time if self._first is None else self._first, time
            self._count(entry)
        return entry

    def finish(self, name: str) -> Facts:
        """The facts of the whole. Raises `BadRecording` without any diff, or if a snapshot fits no
        instrument.
        """
        if self._has_previous is None:
            raise BadRecording(f"{name} contains no depth message: record the stream @depth@100ms")
        for update_id in self._snapshots:
            self.owner(name, update_id)
        return Facts(
            name=name,
            instruments=tuple(sorted(self._ranges)),
            lines=self._lines,
            messages=self._messages,
            seconds=(self._last - (self._first or 0)) / _NS,
            rule="usdm" if self._has_previous else "spot",
        )

    def owner(self, name: str, update_id: int) -> str:
        """The instrument of the snapshot with this id: the one whose diffs are around it."""
        owners = [instrument for instrument, (low, high) in self._ranges.items() if len(self._ranges) == 1 or low - 1 <= update_id <= high]
        if len(owners) != 1:
            problem = f"the snapshot with lastUpdateId {update_id} fits {len(owners)} instruments"
            raise BadRecording(f"{name}: {problem}: make one recording of each")
        return owners[0]

    def _count(self, entry: Entry) -> None:
        if entry.kind == "snapshot":
            if len(self._snapshots) == MAX_SNAPSHOTS:
                raise BadLine(self._lines, f"is one snapshot above the limit of {MAX_SNAPSHOTS}")
            self._snapshots.append(entry.last_id)
        elif entry.kind == "diff":
            if self._has_previous not in (None, entry.has_previous):
                raise BadLine(self._lines, "mixes diffs with pu (USD-M) and diffs without it (spot): make two recordings")
            self._has_previous = entry.has_previous
            self._messages += 1
            low, high = self._ranges.get(entry.instrument, (entry.first_id, entry.last_id))
            self._ranges[entry.instrument] = (min(low, entry.first_id), max(high, entry.last_id))


def check_recording(name: str, lines: Iterable[bytes], instruments: Collection[str] | None = None) -> Facts:
    """Check each line of an upload. Raises `BadLine` and `BadRecording`."""
    checker = LineChecker(instruments)
    for line in lines:
        checker.take(line)
    return checker.finish(name)


def read_recording(name: str, lines: Iterable[bytes], instruments: Collection[str] | None = None) -> Recording:
    """Check each line and keep the messages of books. Raises `BadLine` and `BadRecording`."""
    checker = LineChecker(instruments)
    entries = [entry for line in lines if (entry := checker.take(line)) is not None]
    facts = checker.finish(name)
    assigned = (replace(each, instrument=checker.owner(name, each.last_id)) if each.kind == "snapshot" else each for each in entries)
    return Recording(facts, tuple(each for each in assigned if each.instrument in facts.instruments))
