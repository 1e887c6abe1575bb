"""The report of the observer process: its checks, its lag, its collectors."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from config.exposition import Collected, Families
from config.settings import Settings
from db import topics
from db.bus import Bus, BusError
from db.postgres import Store
from health.timing import DEFAULT, Timing
from jobs.runtime.own_report import OwnReport, no_metrics

log = logging.getLogger(__name__)


@dataclass(slots=True)
class ActingObserver:
    """What the active part of the process fills for the report. Any thread may change it.

    `figures` returns the counters of the loops and of the collectors; `metrics` adds their metrics.
    """

    since: datetime | None = None
    figures: Callable[[], Mapping[str, Any]] = field(default=dict)
    metrics: Callable[[Collected], None] = no_metrics
    changed: threading.Event = field(default_factory=threading.Event)  # set to report at once

    def begin(self, now: datetime, figures: Callable[[], Mapping[str, Any]], metrics: Callable[[Collected], None]) -> None:
        """The process acts from now on."""
        self.since, self.figures, self.metrics = now, figures, metrics
        self.changed.set()

    def collect(self, found: Collected) -> None:
        """Add the rows of the parts that act, if they do."""
        self.metrics(found)

    def end(self) -> None:
        """The process stands by from now on."""
        self.since, self.figures, self.metrics = None, dict, no_metrics
        self.changed.set()


class ObserverReport(OwnReport):
    """Checks and reports the observer process, acting or not. `run` is its thread."""

    def __init__(
        self,
        settings: Settings,
        bus: Bus,
        store: Store,
        clock: Callable[[], datetime],
        acting: ActingObserver,
        timing: Timing = DEFAULT,
        *,
        families: Callable[[], Families] | None = None,
    ) -> None:
        super().__init__("observer", bus, store, clock, acting.changed, timing, families=families)
        self._limit = settings.stream_max_length
        self._acting = acting
        self._unprocessed: int | None = None

    def read(self) -> None:
        """Read the number of unprocessed reports; the last one stays while the bus is away."""
        if self._acting.since is None:
            return
        try:
            self._unprocessed = self.bus.unprocessed_reports()
        except BusError as error:
            log.debug("the lag of the observer is not read: %s", error)

    def collect(self, found: Collected) -> None:
        """Add the rows of the reports that wait on the bus, once their number is known."""
        if self._unprocessed is not None:
            found.add("tickwire_bus_unstored", self._unprocessed, channel=topics.REPORTS)
            found.add("tickwire_bus_unstored_limit", self._limit, channel=topics.REPORTS)

    def parts(self) -> dict[str, Any]:
        """Return state and failing checks; of the active process, the lag and the counters too."""
        acting = self._acting.since is not None
        parts: dict[str, Any] = {"acting": acting, "failing": self.failing()}
        if acting:
            parts["writer"] = {"unstored": {topics.REPORTS: self._unprocessed}, "limit": {topics.REPORTS: self._limit}}
            parts["metrics"] = dict(self._acting.figures())
        return parts
