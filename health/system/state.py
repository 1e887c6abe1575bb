"""The state of the system at one time, from which every answer of `/api/system` is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from db.bus import BusError, Snapshots
from health.measures.resources import MachineFigures, MachineResources
from health.reports import Process, Report
from health.timing import DEFAULT, Timing
from health.verdict import Verdict, acting_reports
from health.watch import Watch


@dataclass(frozen=True, slots=True)
class SystemState:
    """Processes of the registry, the verdict about them, and figures of the machine."""

    now: datetime
    processes: Sequence[Process]
    verdict: Verdict
    machine: MachineFigures
    timing: Timing = field(default=DEFAULT)

    def of_role(self, role: str) -> list[Process]:
        """The expected processes of a role."""
        return [process for process in self.processes if process.role == role]

    def is_down(self, process: Process) -> bool:
        """Return True if the process does not report."""
        return process.is_down(self.timing.down)

    def living(self, role: str) -> list[Report]:
        """The reports of the living processes of a role."""
        return living_reports(self.processes, role, self.timing)

    def acting(self, role: str) -> Report | None:
        """The report of the acting process of a role, if it lives."""
        return acting_process(self.processes, role, self.timing)


class SystemReader:
    """Reads the state of the system for REST. Keep one per process; any thread may call it.

    Figures of the machine are those of the newest snapshot, or else measured by this process.
    """

    def __init__(self, watch: Watch, bus: Snapshots, folder: Path, clock: Callable[[], datetime], timing: Timing = DEFAULT) -> None:
        self._watch = watch
        self._bus = bus
        self._own = MachineResources(folder)
        self._clock = clock
        self._timing = timing

    def __call__(self) -> SystemState:
        """The state now. Raises nothing: parts that cannot be read are missing."""
        verdict = self._watch.verdict()
        return SystemState(self._clock(), self._watch.processes(), verdict, self._machine(), self._timing)

    def processes(self) -> list[Process]:
        """The expected processes, without a wait for a check."""
        return self._watch.processes()

    def _machine(self) -> MachineFigures:
        own = self._own()
        try:
            snapshot = self._bus.latest_snapshot()
            section = orjson.loads(snapshot.numbers["system"]) if snapshot else {}
        except (BusError, KeyError, ValueError):
            return own
        return _figures(section, own) if isinstance(section, dict) else own


def living_reports(processes: Iterable[Process], role: str, timing: Timing = DEFAULT) -> list[Report]:
    """The reports of the processes of a role that live."""
    return [each.report for each in processes if each.role == role and each.report is not None and not each.is_down(timing.down)]


def acting_process(processes: Sequence[Process], role: str, timing: Timing = DEFAULT) -> Report | None:
    """The report of the acting process of a role among these, if it lives."""
    down = [each.name for each in processes if each.is_down(timing.down)]
    found = [report for report in acting_reports(processes, down) if report.role == role and report.name not in down]
    return found[0] if found else None


def _figures(section: Mapping[str, Any], own: MachineFigures) -> MachineFigures:
    names = ("cpu_percent", "memory_percent", "disk_usage_percent", "network_bytes_sent", "network_bytes_recv")
    values = {name: section.get(name) for name in names}
    return MachineFigures(**{name: getattr(own, name) if value is None else value for name, value in values.items()})


def number(value: Any) -> float | int | None:
    """The value of a report if it is a number, else None."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def total(values: Iterable[Any]) -> int:
    """The sum of the numbers among values of reports, as a whole number."""
    return int(sum(found for value in values if (found := number(value)) is not None))
