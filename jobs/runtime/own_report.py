"""The report of a process of which one is active: its checks, and the thread that sends it."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from config.exposition import Collected, Families
from config.loops import HEARTBEATS
from db.bus import Bus
from db.postgres import Store
from health.checks import BusCheck, DatabaseCheck, check_store
from health.own import OwnChecks, Transitions
from health.probe import HealthProbe
from health.reporter import Identity, Reporter, bus_part
from health.timing import Timing
from health.watch import BUS, DATABASE

log = logging.getLogger(__name__)

LOOP = "report"
LONGEST_ROUND_SECONDS = 20.0  # several reads and a report that all wait for a hung Redis


def no_metrics(_: Collected) -> None:
    """Add no rows: a process that stands by has none of those of the acting one."""


class OwnReport(ABC):
    """Checks and reports this process, acting or not. `run` is its thread.

    `changed` is set to report at once. `probes` are checked besides those of both servers.
    `families` are the metrics of the report; None leaves them out.
    """

    def __init__(
        self,
        role: str,
        bus: Bus,
        store: Store,
        clock: Callable[[], datetime],
        changed: threading.Event,
        timing: Timing,
        probes: Sequence[HealthProbe] = (),
        families: Callable[[], Families] | None = None,
    ) -> None:
        self.changed = changed
        self.bus = bus.with_timeout(timing.limit)
        self._timing = timing
        self._transitions = Transitions()
        identity = Identity.of_this_process(role, None, clock())
        self._reporter = Reporter(self.bus, identity, self._parts, clock, timing=timing, families=families)
        database = DatabaseCheck(check_store(store, timing.limit), lambda: self._reporter.name, clock, read_only_role=False)
        servers = [
            HealthProbe(DATABASE, database),
            HealthProbe(BUS, BusCheck(self.bus, lambda: self._reporter.name, timing.limit)),
        ]
        self._checks = OwnChecks([*servers, *probes], timing=timing)

    @abstractmethod
    def read(self) -> None:
        """Read the figures of the next report."""

    @abstractmethod
    def parts(self) -> dict[str, Any]:
        """Return the parts of the report."""

    def _parts(self) -> dict[str, Any]:
        return {**self.parts(), **bus_part(self.bus)}

    def failing(self) -> dict[str, str]:
        """Part -> reason, of the checks that fail."""
        return self._checks.failing()

    def run(self, stop: threading.Event) -> None:
        """Check and report until `stop` is set; then remove this process from the registry."""
        HEARTBEATS.expect(LOOP, LONGEST_ROUND_SECONDS)
        while not stop.is_set():
            try:
                self._round()
            except Exception:
                log.exception("a round of the report failed")
            HEARTBEATS.beat(LOOP)
            self.changed.wait(self._timing.beat)
            self.changed.clear()
        HEARTBEATS.forget(LOOP)
        self._reporter.close()

    def _round(self) -> None:
        self._checks.tick()
        self.read()
        self._transitions.note(self.failing())
        self._reporter.tick()
