"""The report of a jobs process: its duties, its sources, the writers, the last runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from config.exposition import Families
from config.process.duties import TIMED_JOBS
from config.settings import Settings
from db import topics
from db.bus import Bus, BusError
from db.postgres import Store, StoreError
from db.timestamps import format_time
from health.checks import check_store
from health.probe import HealthProbe
from health.timing import DEFAULT, Timing
from jobs.measures.counts import JobsMeasures
from jobs.measures.performance import Performance
from jobs.measures.store import StoreFigures
from jobs.runtime.job_checks import failing_jobs
from jobs.runtime.own_report import OwnReport

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger

_JOB_RUNS = "job_runs"
STORED = (topics.PRICES, topics.TRADES, topics.BOOK_TOPS)


class SourceStatus(Protocol):
    """The part of a source's status that the report and the metrics need."""

    name: str
    part: str  # its name among the parts of all sources

    @property
    def state(self) -> str:
        """Its state, as /health names it."""

    @property
    def last_accepted(self) -> datetime | None:
        """The time at which the bus last accepted one of its records."""

    def report(self) -> dict[str, Any]:
        """Its state and counts."""


@dataclass(slots=True)
class Acting:
    """What the duties of this process fill for the report. Any thread may read it.

    `known` are all duties, `globs` is JOBS_DUTIES. `held` maps the duties of this process to the
    time of their win. `backend` is the process id of its session in PostgreSQL, None without one.
    `calendars` maps sources to the calendars of their instruments.
    """

    known: Sequence[str] = ()
    globs: Sequence[str] = ()
    held: Mapping[str, datetime] = field(default_factory=dict)
    backend: int | None = None
    statuses: Sequence[SourceStatus] = ()
    calendars: Mapping[str, Collection[str]] = field(default_factory=dict)
    changed: threading.Event = field(default_factory=threading.Event)  # set to report at once

    @property
    def since(self) -> datetime | None:
        """The time from which the process runs the timed jobs; None if another one does."""
        return self.held.get(TIMED_JOBS)

    def hold(self, duties: Collection[str], backend: int | None, now: datetime) -> None:
        """The process has these duties from now on."""
        self.held, self.backend = {duty: self.held.get(duty, now) for duty in sorted(duties)}, backend
        self.changed.set()


class JobsReport(OwnReport):
    """Checks and reports a jobs process, with duties or without. `run` is its thread."""

    def __init__(
        self,
        settings: Settings,
        bus: Bus,
        store: Store,
        clock: Callable[[], datetime],
        triggers: Mapping[str, BaseTrigger],
        acting: Acting,
        timing: Timing = DEFAULT,
        *,
        measures: JobsMeasures | None = None,
        families: Callable[[], Families] | None = None,
    ) -> None:
        super().__init__("jobs", bus, store, clock, acting.changed, timing, [HealthProbe(_JOB_RUNS, self._check_jobs)], families)
        measures = measures or JobsMeasures()
        self.figures = StoreFigures(measures.tasks)
        self._performance = Performance(measures)
        self._writers = measures.writer
        self._limit = settings.stream_max_length
        self._clock = clock
        self._triggers = triggers
        self._acting = acting
        self._store = check_store(store, timing.limit)
        self._failing_jobs: dict[str, str] = {}
        self._writer: dict[str, Any] = {}

    def parts(self) -> dict[str, Any]:
        """Return duties and failing checks, and the sources of this process.

        The process with the timed jobs reports the queues of all writers too.
        """
        acting = self._acting
        held = {duty: format_time(since) for duty, since in acting.held.items()}
        parts: dict[str, Any] = {
            "acting": acting.since is not None,
            "failing": self.failing(),
            "duties": {"held": held, "globs": list(acting.globs), "backend": acting.backend},
        }
        if held:
            parts["sources"] = {status.part: status.report() for status in tuple(acting.statuses)}
            parts["metrics"] = {"performance": self._performance.part()}
        if acting.since is not None:
            parts["writer"] = self._writer
        return parts

    @property
    def unstored(self) -> Mapping[str, int]:
        """Channel -> number of its records that are not stored yet, as last read."""
        found: Mapping[str, int] = self._writer.get("unstored", {})
        return found

    def failing(self) -> dict[str, str]:
        """Part -> reason, of the checks and of the jobs that fail."""
        failing = super().failing()
        failing.pop(_JOB_RUNS, None)  # without the database the last runs are unknown
        return failing | (self._failing_jobs if self._acting.since is not None else {})

    def _check_jobs(self) -> None:
        """Read the last runs of the timed jobs. Raises `StoreError`."""
        if (since := self._acting.since) is None:
            return
        try:
            with self._store.transaction() as cursor:
                self._failing_jobs = failing_jobs(cursor, self._triggers, since, self._clock())
        except StoreError:
            self._failing_jobs = {}
            raise
        if self.figures.due:
            with self._store.transaction() as cursor:
                self.figures.read(cursor)

    def read(self) -> None:
        """Read the delay of the writers; the last values stay while the bus is unavailable."""
        self._performance.mark()
        if not self._acting.held:
            return
        try:
            unstored = {channel: self.bus.unstored(channel) for channel in STORED}
            parked = self.bus.parked()
            ages = [age for channel in STORED if (age := self.bus.oldest_unstored_seconds(channel)) is not None]
        except BusError:
            return
        self._writers.unstored = unstored
        self._writer = {
            "unstored": unstored,
            "limit": dict.fromkeys(STORED, self._limit),
            "oldest_age_seconds": round(max(ages), 3) if ages else None,
            "parked": parked.total,
            "last_parked": parked.last,
        }
