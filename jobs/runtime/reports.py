"""The report of the jobs process: its sources, its writers, its last runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from apscheduler.triggers.base import BaseTrigger

from config.settings import Settings
from db import topics
from db.bus import Bus, BusError
from db.postgres import Store, StoreError
from health.checks import check_store
from health.probe import HealthProbe
from health.timing import DEFAULT, Timing
from jobs.runtime.job_checks import failing_jobs
from jobs.runtime.own_report import OwnReport

_JOB_RUNS = "job_runs"
STORED = (topics.PRICES, topics.TRADES, topics.BOOK_TOPS)


class SourceStatus(Protocol):
    """The part of a source's status that the report needs."""

    name: str

    def report(self) -> dict[str, Any]:
        """Its state and counts."""


@dataclass(slots=True)
class Acting:
    """What the active part of the jobs process fills for the report. Any thread may change it.

    `since` is the time from which the process acts, None for a standby.
    """

    since: datetime | None = None
    statuses: Sequence[SourceStatus] = ()
    changed: threading.Event = field(default_factory=threading.Event)  # set to report at once

    def begin(self, now: datetime) -> None:
        """The process acts from now on."""
        self.since, self.statuses = now, ()
        self.changed.set()

    def end(self) -> None:
        """The process stands by from now on."""
        self.since, self.statuses = None, ()
        self.changed.set()


class JobsReport(OwnReport):
    """Checks and reports the jobs process, acting or not. `run` is its thread."""

    def __init__(
        self,
        settings: Settings,
        bus: Bus,
        store: Store,
        clock: Callable[[], datetime],
        triggers: Mapping[str, BaseTrigger],
        acting: Acting,
        timing: Timing = DEFAULT,
    ) -> None:
        super().__init__("jobs", bus, store, clock, acting.changed, timing, [HealthProbe(_JOB_RUNS, self._check_jobs)])
        self._limit = settings.stream_max_length
        self._clock = clock
        self._triggers = triggers
        self._acting = acting
        self._store = check_store(store, timing.limit)
        self._failing_jobs: dict[str, str] = {}
        self._writer: dict[str, Any] = {}

    def parts(self) -> dict[str, Any]:
        """Return state and failing checks; of the active process, its sources and writers too."""
        since = self._acting.since
        parts: dict[str, Any] = {"acting": since is not None, "failing": self.failing()}
        if since is not None:
            parts["sources"] = {status.name: status.report() for status in self._acting.statuses}
            parts["writer"] = self._writer
        return parts

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

    def read(self) -> None:
        """Read the delay of the writers; the last values stay while the bus is unavailable."""
        if self._acting.since is None:
            return
        try:
            unstored = {channel: self.bus.unstored(channel) for channel in STORED}
            parked = self.bus.parked()
            ages = [age for channel in STORED if (age := self.bus.oldest_unstored_seconds(channel)) is not None]
        except BusError:
            return
        self._writer = {
            "unstored": unstored,
            "limit": dict.fromkeys(STORED, self._limit),
            "oldest_age_seconds": round(max(ages), 3) if ages else None,
            "parked": parked.total,
            "last_parked": parked.last,
        }
