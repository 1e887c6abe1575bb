"""The report of the process `books`: its checks, its source, its figures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from config.exposition import Collected, Families
from db.bus import Bus
from db.postgres import Store
from health.timing import DEFAULT, Timing
from jobs.runtime.own_report import OwnReport, no_metrics

Parts = Mapping[str, Any]


@dataclass(slots=True)
class ActingBooks:
    """What the active part of the process fills for the report. Any thread may change it.

    `parts` returns the parts `books` and `sources`; `metrics` adds the metrics of both.
    """

    is_acting: bool = False
    parts: Callable[[], Parts] = field(default=dict)
    metrics: Callable[[Collected], None] = no_metrics
    changed: threading.Event = field(default_factory=threading.Event)  # set to report at once

    def begin(self, parts: Callable[[], Parts], metrics: Callable[[Collected], None]) -> None:
        """The process acts from now on."""
        self.is_acting, self.parts, self.metrics = True, parts, metrics
        self.changed.set()

    def collect(self, found: Collected) -> None:
        """Add the rows of the books, if they are kept here."""
        self.metrics(found)

    def end(self) -> None:
        """The process stands by from now on."""
        self.is_acting, self.parts, self.metrics = False, dict, no_metrics
        self.changed.set()


class BooksReport(OwnReport):
    """Checks and reports the process, acting or not. `run` is its thread."""

    def __init__(
        self,
        bus: Bus,
        store: Store,
        clock: Callable[[], datetime],
        acting: ActingBooks,
        timing: Timing = DEFAULT,
        *,
        families: Callable[[], Families] | None = None,
    ) -> None:
        super().__init__("books", bus, store, clock, acting.changed, timing, families=families)
        self._acting = acting

    def read(self) -> None:
        """Nothing: the figures are in memory."""

    def parts(self) -> dict[str, Any]:
        """Return state and failing checks; of the active process, its figures too."""
        return {"acting": self._acting.is_acting, "failing": self.failing(), **self._acting.parts()}
