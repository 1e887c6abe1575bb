"""Reports of processes as the registry has them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from db.bus import Bus
from db.bus.processes.registry import EXPECTED_SECONDS, ProcessEntry
from db.timestamps import parse_time

ROLES = ("jobs", "hub", "rest", "observer", "books")
MAX_REPORT_BYTES = 64 * 1024
MAX_NAME_CHARACTERS = 300
LARGEST_NUMBER = 2**53  # of a report; larger than any count of ours
# part -> type of the whole, type of each value if it is checked
_PARTS: dict[str, type | None] = {
    "hub": None,
    "sources": dict,
    "writer": None,
    "resources": None,
    "metrics": None,
    "failing": str,
    "duties": None,
    "bus": None,
}


@dataclass(frozen=True, slots=True)
class Report:
    """A well-formed report."""

    name: str
    role: str
    acting: bool
    started: datetime
    at: datetime
    body: Mapping[str, Any]

    def part(self, name: str) -> Mapping[str, Any]:
        """A part of the report, empty if the process does not fill it."""
        found: Mapping[str, Any] = self.body.get(name) or {}
        return found

    @property
    def failing(self) -> Mapping[str, str]:
        """Part -> reason."""
        return self.part("failing")

    @property
    def unreplicated(self) -> bool:
        """True if batches of this process are accepted without confirmation by a replica."""
        return bool(self.part("bus").get("unreplicated"))

    @property
    def draining(self) -> bool:
        """True for a hub that is about to end."""
        return self.part("hub").get("draining") is True


@dataclass(frozen=True, slots=True)
class Process:
    """An expected process: the age of its heartbeat, and its last known report.

    `missing` means that the registry has no report, or a malformed one.
    """

    name: str
    age_seconds: float
    missing: bool
    report: Report | None

    @property
    def role(self) -> str:
        """The role, from the report or else from the name `ROLE:PORT@HOST`."""
        return self.report.role if self.report else self.name.partition("@")[0].partition(":")[0].partition(".")[0]

    def is_down(self, after_seconds: float) -> bool:
        """Return True if the process is expected and does not report."""
        return self.missing or self.age_seconds > after_seconds


def read_report(name: str, text: bytes) -> Report:
    """Return the report of the process `name`. Raises `ValueError` if it is malformed."""
    if len(text) > MAX_REPORT_BYTES:
        raise ValueError(f"{len(text)} bytes, the limit is {MAX_REPORT_BYTES}")
    body = orjson.loads(text)
    if not isinstance(body, dict):
        raise ValueError("not an object")
    if body.get("name") != name:
        raise ValueError("the name differs from the key")
    if body.get("role") not in ROLES or not isinstance(body.get("acting"), bool):
        raise ValueError("`role` or `acting` is wrong")
    for part, values in _PARTS.items():
        found = body.get(part) or {}
        if not isinstance(found, dict) or (values and not all(isinstance(each, values) for each in found.values())):
            raise ValueError(f"`{part}` is wrong")
        if not all(is_name(key) for key in found):
            raise ValueError(f"`{part}` has a name that is no line of text")
        if not _has_plain_numbers(found):
            raise ValueError(f"`{part}` has a number above {LARGEST_NUMBER}")
    started, at = body.get("started"), body.get("at")
    if not isinstance(started, str) or not isinstance(at, str):
        raise ValueError("`started` or `at` is wrong")
    return Report(name, body["role"], body["acting"], parse_time(started), parse_time(at), body)


def is_name(text: str) -> bool:
    """Return True for a line of text that fits into a label, a log record and a terminal."""
    return len(text) <= MAX_NAME_CHARACTERS and text.isprintable()


def _has_plain_numbers(part: object) -> bool:
    """Return True unless a number is so large that JSON could not hold the sum of some of them.

    `families` are left out: their reader checks each sample.
    """
    left = [part]
    while left:
        found = left.pop()
        if isinstance(found, dict):
            left.extend(each for key, each in found.items() if key != "families")
        elif isinstance(found, list):
            left.extend(found)
        elif isinstance(found, int | float) and abs(found) > LARGEST_NUMBER:
            return False
    return True


class ProcessTable:
    """Keeps the last report of each expected process."""

    def __init__(self) -> None:
        self._reports: dict[str, Report] = {}
        self._processes: list[Process] = []
        self.malformed: dict[str, str] = {}  # process -> reason, of the last update

    def update(self, entries: list[ProcessEntry], now_ms: int) -> None:
        """Take the entries of the registry; `now_ms` is in Unix milliseconds."""
        self.malformed = {}
        processes = []
        for entry in entries:
            age = (now_ms - entry.beat_ms) / 1000
            if age > EXPECTED_SECONDS:
                continue
            if not is_name(entry.name):  # none of ours: it would stand in labels and on terminals
                self.malformed[ascii(entry.name[:MAX_NAME_CHARACTERS])] = "the name is no line of text"
                continue
            good = self._take(entry)
            report = self._reports.get(entry.name)
            if report is None or not (report.role == "hub" and report.draining):
                processes.append(Process(entry.name, age, not good, report))
        names = {entry.name for entry in entries}
        self._reports = {name: report for name, report in self._reports.items() if name in names}
        self._processes = processes

    def expected(self) -> list[Process]:
        """The expected processes, as of the last update."""
        return list(self._processes)

    def _take(self, entry: ProcessEntry) -> bool:
        if entry.report is None:
            return False
        try:
            self._reports[entry.name] = read_report(entry.name, entry.report)
        except ValueError as error:
            self.malformed[entry.name] = str(error)
            return False
        return True


def read_processes(bus: Bus, now: datetime, role: str = "") -> ProcessTable:
    """Return the table with the entries of the registry at `now`; of one role, if it is given.

    Raises `BusError`.
    """
    table, now_ms = ProcessTable(), int(now.timestamp() * 1000)
    table.update(bus.processes(now_ms, role), now_ms)
    return table
