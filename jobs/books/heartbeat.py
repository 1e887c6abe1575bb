"""Heartbeats: status and figures of the books, also without any book."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from config.pacing import Outage, StopSignal
from db.bus import Bus, BusError
from db.scenarios.status import BookState, Load, Status, StatusDetails, StatusFigures, heartbeat_body, reasons_of, status_of
from health.reports import ProcessTable

log = logging.getLogger("jobs.books")

LOG_SECONDS = 10.0  # between two lines at INFO


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of all lines together. `peak` is the largest queue since the figures before."""

    scenario: str
    processed: int = 0
    queue_size: int = 0
    queue_max: int = 0
    peak: int = 0
    dropped: int = 0
    lag: float = 0.0  # s
    backpressure: float = 0.0  # s
    processing_ms: float = 0.0  # of the last diff
    books: Mapping[str, BookState] | None = None

    @property
    def load(self) -> Load:
        """The figures that decide on the status."""
        return Load(self.queue_size, self.queue_max, self.lag, self.books or {})

    @property
    def highest_load(self) -> Load:
        """The load with the largest queue: a short peak between two heartbeats counts too."""
        return replace(self.load, queue_size=max(self.queue_size, self.peak))


class HeartbeatLoop:
    """Publishes heartbeats. A missed deadline is skipped. `run` is its thread.

    `started` is the monotonic time of the process's start.
    """

    def __init__(
        self,
        bus: Bus,
        figures: Callable[[], Figures],
        *,
        interval: float,
        started: float,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._figures = figures
        self._interval = interval
        self._started = started
        self._clock = clock
        self._monotonic = monotonic
        self._table = ProcessTable()
        self._status: Status = "degraded"  # at the start, before the first snapshot
        self._outage = Outage(log, "heartbeats are not published", monotonic=monotonic)
        self._logged_at = float("-inf")
        self._largest = 0  # queue since the last line
        self.last = Figures("")  # of the last heartbeat

    def run(self, stop: StopSignal) -> None:
        """Publish until `stop` is set."""
        deadline = self._monotonic()
        while not stop.wait(max(0.0, deadline - self._monotonic())):
            self.beat()
            late = self._monotonic() - deadline
            deadline += self._interval * (1 + max(0, int(late / self._interval)))

    def beat(self) -> None:
        """Publish one heartbeat."""
        figures, now = self._figures(), self._clock()
        self.last = figures
        status = status_of(figures.highest_load)
        self._log_status(status, figures)
        try:
            self._read_processes(now)
            self._bus.publish_heartbeat(self._body(figures, status, now))
        except BusError as error:
            self._outage.failed(error)
        else:
            self._outage.recovered()
        self._log_beat(status, figures)

    def _body(self, figures: Figures, status: Status, now: datetime) -> dict[str, Any]:
        memory, clients = self._resources()
        eight = StatusFigures(
            status=status,
            uptime_seconds=self._monotonic() - self._started,
            processed=figures.processed,
            queue_size=figures.queue_size,
            memory_bytes=memory,
            clients=clients,
            scenario=figures.scenario,
            last_heartbeat=now,
        )
        details = StatusDetails(
            lag_seconds=figures.lag,
            queue_max=figures.queue_max,
            queue_peak=figures.peak,
            dropped=figures.dropped,
            backpressure_seconds=figures.backpressure,
            books={name: each.state for name, each in (figures.books or {}).items()},
        )
        return heartbeat_body(eight, details, now)

    def _read_processes(self, now: datetime) -> None:
        """Read the registry. Raises `BusError`."""
        now_ms = int(now.timestamp() * 1_000)
        self._table.update(self._bus.processes(now_ms), now_ms)

    def _resources(self) -> tuple[float, int]:
        """Resident bytes of all processes, and clients of all hubs, as of their last reports."""
        reports = [each.report for each in self._table.expected() if each.report is not None]
        memory = sum(_number(each.part("resources").get("rss_bytes")) for each in reports)
        hubs = [each.part("hub") for each in reports if each.role == "hub"]
        return memory, int(sum(_number(hub.get(name)) for hub in hubs for name in ("clients", "plain_clients")))

    def _log_status(self, status: Status, figures: Figures) -> None:
        worse = status != "healthy" and (self._status == "healthy" or status == "unhealthy")
        if status != self._status and worse:
            fields = {"code": ",".join(reasons_of(figures.highest_load)), "severity": "critical" if status == "unhealthy" else "warning"}
            log.warning("alert", extra={**fields, "status": status, **_measured(figures)})
        self._status = status

    def _log_beat(self, status: Status, figures: Figures) -> None:
        self._largest = max(self._largest, figures.peak, figures.queue_size)
        log.debug("heartbeat", extra={"status": status, **_measured(figures)})
        # A heartbeat may come a little early; without the half, the next one would have the line.
        if self._monotonic() - self._logged_at >= LOG_SECONDS - self._interval / 2:
            self._logged_at = self._monotonic()
            log.info("heartbeat", extra={"status": status, **_measured(figures), "queue_size": self._largest})
            self._largest = 0


def _measured(figures: Figures) -> dict[str, Any]:
    return {"processing_ms": figures.processing_ms, "queue_size": figures.queue_size}


def _number(value: Any) -> float:
    """A number that another process has reported; 0 for anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
