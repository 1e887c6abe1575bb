"""Collectors of the observer: their protocol, their counters, and the guard of a failing one."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from config.pacing import Outage, StopSignal
from config.settings import Settings
from db.bus import Bus
from db.postgres import Cursor, Store
from jobs.observer.collectors.live_prices import LivePrices
from jobs.observer.figures.sections import Body, stale_section

log = logging.getLogger(__name__)

READ_TIMEOUT = "60s"  # of statements that sum up a day of reports, or all round trips

Status = Literal["ready", "starting", "stopped", "error"]


def allow_long_reads(cursor: Cursor) -> None:
    """Give the statements of this transaction `READ_TIMEOUT`."""
    cursor.execute("SELECT set_config('statement_timeout', %s, true)", (READ_TIMEOUT,))


@dataclass(frozen=True, slots=True)
class ObserverContext:
    """Everything that collectors and alert rules share."""

    settings: Settings
    bus: Bus
    store: Store
    clock: Callable[[], datetime]
    monotonic: Callable[[], float] = time.monotonic
    prices: LivePrices = field(default_factory=LivePrices)  # kept by the collector of market data


@runtime_checkable
class Collector(Protocol):
    """The maker of one section. The loop of the observer calls it, from one thread.

    A collector that reads from a server does so in one of its `loops`, or in a thread of its own
    between `start` and `stop`, so that `get_current_metrics` never waits.
    """

    @property
    def name(self) -> str:
        """The name of the section: `market_data`, `strategy`, `execution`, `system`."""

    def start(self) -> None:
        """Begin; called once, before every other method. May raise `StoreError` or `BusError`."""

    def stop(self) -> None:
        """End; called once."""

    def is_ready(self) -> bool:
        """Return True if the last collection gave values."""

    def get_status(self) -> Status:
        """The state of the collector."""

    def get_statistics(self) -> Mapping[str, Any]:
        """`status`, `uptime_seconds`, `metrics_collected`, `errors`, `error_rate`, and more."""

    def get_current_metrics(self) -> Body:
        """The body of the section, at most `period` old. Never raises.

        After a failure these are the last values with `stale` set; `{}` if there never were any.
        """

    def last_metrics(self) -> Body:
        """The last body of the section, made by the loop. Any thread may call it."""

    def further_texts(self) -> Mapping[str, str]:
        """Name -> text that the snapshot has besides the sections."""

    def loops(self) -> Mapping[str, Callable[[StopSignal], None]]:
        """Name -> loop of this collector; each runs in a thread until its stop is set."""

    def store_second(self, cursor: Cursor, second: datetime) -> None:
        """Insert the rows of the second that began at `second` into `metrics_*_1s`."""


class BaseCollector(ABC):
    """A collector with counters; a subclass has `name`, `period` and `collect`.

    `period` is the time in seconds between two calls of `collect`; 0 means each tick of the loop.
    """

    name: ClassVar[str]
    period: ClassVar[float] = 0.0

    def __init__(self, context: ObserverContext) -> None:
        self.context = context
        self._started: float | None = None  # monotonic
        self._stopped = False
        self._due = float("-inf")  # monotonic time of the next collection
        self._last: Body = {}
        self._failed = False
        self._collected = 0
        self._errors = 0
        self._outage = Outage(log, "a collector fails", monotonic=context.monotonic, collector=self.name)

    @abstractmethod
    def collect(self, now: datetime) -> Body:
        """Return the body of the section at `now`. May raise any exception."""

    def start(self) -> None:
        """Begin to count."""
        self._started, self._stopped = self.context.monotonic(), False

    def stop(self) -> None:
        """End."""
        self._stopped = True

    def is_ready(self) -> bool:
        """Return True if the last collection gave values."""
        return self.get_status() == "ready"

    def get_status(self) -> Status:
        """The state of the collector."""
        if self._started is None or self._stopped:
            return "stopped"
        if self._failed:
            return "error"
        return "ready" if self._last else "starting"

    def get_statistics(self) -> Mapping[str, Any]:
        """Counters since the start; `error_rate` is a fraction of the collections."""
        attempts = self._collected + self._errors
        return {
            "status": self.get_status(),
            "uptime_seconds": 0.0 if self._started is None else round(self.context.monotonic() - self._started, 3),
            "metrics_collected": self._collected,
            "errors": self._errors,
            "error_rate": self._errors / attempts if attempts else 0.0,
        }

    def get_current_metrics(self) -> Body:
        """The body of the section; collected again if it is due."""
        monotonic = self.context.monotonic()
        if monotonic >= self._due:
            self._due = monotonic + self.period
            self._collect()
        return self.last_metrics()

    def last_metrics(self) -> Body:
        """The last body of the section."""
        return stale_section(self._last) if self._failed else self._last

    def further_texts(self) -> Mapping[str, str]:
        """No further text."""
        return {}

    def loops(self) -> Mapping[str, Callable[[StopSignal], None]]:
        """No loop."""
        return {}

    def _collect(self) -> None:
        try:
            self._last = self.collect(self.context.clock())
        except Exception as error:  # noqa: BLE001 - the outage logs it, and the section keeps its last values
            self._failed = True
            self._errors += 1
            self._outage.failed(error, traceback=True)
            return
        self._failed = False
        self._collected += 1
        self._outage.recovered()

    def store_second(self, cursor: Cursor, second: datetime) -> None:  # noqa: B027 - most collectors have no table
        """Insert nothing; a subclass with tables inserts its rows."""
