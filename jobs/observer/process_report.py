"""The report of the observer process: its checks, its lag, its collectors."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from config.loops import HEARTBEATS
from config.settings import Settings
from db import topics
from db.bus import Bus, BusError
from db.postgres import Store
from health.checks import BusCheck, DatabaseCheck, check_store
from health.own import OwnChecks, Transitions
from health.probe import HealthProbe
from health.reporter import Identity, Reporter
from health.timing import DEFAULT, Timing
from health.watch import BUS, DATABASE

log = logging.getLogger(__name__)

LOOP = "report"
LONGEST_ROUND_SECONDS = 20.0  # a read and a report that both wait for a hung Redis


@dataclass(slots=True)
class ActingObserver:
    """What the active part of the process fills for the report. Any thread may change it.

    `figures` returns the counters of the loops and of the collectors.
    """

    since: datetime | None = None
    figures: Callable[[], Mapping[str, Any]] = field(default=dict)
    changed: threading.Event = field(default_factory=threading.Event)  # set to report at once

    def begin(self, now: datetime, figures: Callable[[], Mapping[str, Any]]) -> None:
        """The process acts from now on."""
        self.since, self.figures = now, figures
        self.changed.set()

    def end(self) -> None:
        """The process stands by from now on."""
        self.since, self.figures = None, dict
        self.changed.set()


class ObserverReport:
    """Checks and reports the observer process, acting or not. `run` is its thread."""

    def __init__(
        self,
        settings: Settings,
        bus: Bus,
        store: Store,
        clock: Callable[[], datetime],
        acting: ActingObserver,
        timing: Timing = DEFAULT,
    ) -> None:
        self._bus = bus.with_timeout(timing.limit)
        self._limit = settings.stream_max_length
        self._acting = acting
        self._timing = timing
        self._unprocessed: int | None = None
        self._transitions = Transitions()
        self._reporter = Reporter(self._bus, Identity.of_this_process("observer", None, clock()), self._parts, clock, timing=timing)
        database = DatabaseCheck(check_store(store, timing.limit), lambda: self._reporter.name, clock, read_only_role=False)
        probes = [
            HealthProbe(DATABASE, database),
            HealthProbe(BUS, BusCheck(self._bus, lambda: self._reporter.name, timing.limit)),
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
        if self._acting.since is not None:
            self._read_lag()
        self._transitions.note(self._checks.failing())
        self._reporter.tick()

    def _read_lag(self) -> None:
        """Read the number of unprocessed reports; the last one stays while the bus is away."""
        try:
            self._unprocessed = self._bus.unprocessed_reports()
        except BusError as error:
            log.debug("the lag of the observer is not read: %s", error)

    def _parts(self) -> dict[str, Any]:
        acting = self._acting.since is not None
        parts: dict[str, Any] = {"acting": acting, "failing": self._checks.failing()}
        if acting:
            parts["writer"] = {"unstored": {topics.REPORTS: self._unprocessed}, "limit": {topics.REPORTS: self._limit}}
            parts["metrics"] = dict(self._acting.figures())
        return parts
