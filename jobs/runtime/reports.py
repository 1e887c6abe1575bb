"""The report of the jobs process: its parts, its checks, and the thread that sends it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from apscheduler.triggers.base import BaseTrigger

from config.loops import HEARTBEATS
from config.settings import Settings
from db import topics
from db.bus import Bus, BusError
from db.postgres import Store, StoreError
from health.checks import BusCheck, DatabaseCheck, check_store
from health.own import OwnChecks, Transitions
from health.probe import HealthProbe
from health.reporter import Identity, Reporter
from health.timing import DEFAULT, Timing
from health.watch import BUS, DATABASE
from jobs.runtime.job_checks import failing_jobs

log = logging.getLogger(__name__)

LOOP = "report"
LONGEST_ROUND_SECONDS = 20.0  # several reads and a report that all wait for a hung Redis
_JOB_RUNS = "job_runs"
STORED = (topics.PRICES, topics.TRADES)


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


class JobsReport:
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
        self._bus = bus.with_timeout(timing.limit)
        self._limit = settings.stream_max_length
        self._clock = clock
        self._triggers = triggers
        self._acting = acting
        self._timing = timing
        self._store = check_store(store, timing.limit)
        self._failing_jobs: dict[str, str] = {}
        self._writer: dict[str, Any] = {}
        self._transitions = Transitions()
        self._reporter = Reporter(self._bus, Identity.of_this_process("jobs", None, clock()), self._parts, clock, timing=timing)
        database = DatabaseCheck(self._store, lambda: self._reporter.name, clock, read_only_role=False)
        probes = [
            HealthProbe(DATABASE, database),
            HealthProbe(BUS, BusCheck(self._bus, lambda: self._reporter.name, timing.limit)),
            HealthProbe(_JOB_RUNS, self._check_jobs),
        ]
        self._checks = OwnChecks(probes, timing=timing)

    def run(self, stop: threading.Event) -> None:
        """Check and report until `stop` is set; then remove this process from the registry."""
        HEARTBEATS.expect(LOOP, LONGEST_ROUND_SECONDS)
        while not stop.is_set():
            try:
                self._round()
            except Exception:
                log.exception("a round of the report failed")
            HEARTBEATS.beat(LOOP)
            self._acting.changed.wait(self._timing.beat)
            self._acting.changed.clear()
        HEARTBEATS.forget(LOOP)
        self._reporter.close()

    def _round(self) -> None:
        self._checks.tick()
        self._read_writer()
        self._transitions.note(self._failing())
        self._reporter.tick()

    def _parts(self) -> dict[str, Any]:
        since = self._acting.since
        parts: dict[str, Any] = {"acting": since is not None, "failing": self._failing()}
        if since is not None:
            parts["sources"] = {status.name: status.report() for status in self._acting.statuses}
            parts["writer"] = self._writer
        return parts

    def _failing(self) -> dict[str, str]:
        failing = self._checks.failing()
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

    def _read_writer(self) -> None:
        """Read the delay of the writers; the last values stay while the bus is unavailable."""
        if self._acting.since is None:
            return
        try:
            unstored = {channel: self._bus.unstored(channel) for channel in STORED}
            parked = self._bus.parked()
            ages = [age for channel in STORED if (age := self._bus.oldest_unstored_seconds(channel)) is not None]
        except BusError:
            return
        self._writer = {
            "unstored": unstored,
            "limit": dict.fromkeys(STORED, self._limit),
            "oldest_age_seconds": round(max(ages), 3) if ages else None,
            "parked": parked.total,
            "last_parked": parked.last,
        }
