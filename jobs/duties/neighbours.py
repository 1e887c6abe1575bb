"""The other jobs processes, by their reports: their JOBS_DUTIES and the states of sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from config.process.duties import source_of
from db.bus import Bus, BusError
from health.reports import Report, read_processes
from jobs.runtime.reports import Acting
from jobs.runtime.source_events import SourceEvents


class Neighbours:
    """Reads the reports of the jobs processes. Call it from one thread.

    When a source of another process enters another state, its event is set, which wakes its gap
    filler here.
    """

    def __init__(self, bus: Bus, acting: Acting, events: SourceEvents, clock: Callable[[], datetime]) -> None:
        self._bus = bus
        self._acting = acting
        self._events = events
        self._clock = clock
        self._globs: Mapping[int, tuple[str, ...]] = {}  # backend -> JOBS_DUTIES
        self._since: dict[str, object] = {}  # part of a source -> time of its present state

    def __call__(self) -> Mapping[int, tuple[str, ...]]:
        """Backend of PostgreSQL -> JOBS_DUTIES of its process; the last ones without Redis."""
        try:
            processes = read_processes(self._bus, self._clock(), "jobs").expected()
        except BusError:
            return self._globs
        found: dict[int, tuple[str, ...]] = {}
        for report in (each.report for each in processes if each.role == "jobs" and not each.missing):
            if report is None:
                continue
            backend, globs = report.part("duties").get("backend"), report.part("duties").get("globs")
            if isinstance(backend, int) and isinstance(globs, list) and globs:
                found[backend] = tuple(map(str, globs))
            if backend != self._acting.backend:
                self._note_sources(report)
        self._globs = found
        return found

    def _note_sources(self, report: Report) -> None:
        for part, source in report.part("sources").items():
            since = source.get("since")
            if self._since.get(part) != since:
                self._since[part] = since
                self._events.set(source_of(part))
