"""Status of the books, and the bodies of `GET /status` and `GET /scenarios`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from db.timestamps import format_time

Status = Literal["healthy", "degraded", "unhealthy"]

STATUSES: tuple[Status, ...] = get_args(Status)
BOOK_STATES = ("syncing", "live", "gap", "resyncing", "stale")
LIVE = "live"
DEGRADED_QUEUE, UNHEALTHY_QUEUE = 0.5, 0.9  # share of `queue_max`
DEGRADED_LAG_SECONDS = 1.0
LONGEST_NOT_LIVE_SECONDS = 30.0
MISSED_HEARTBEATS = 3


@dataclass(frozen=True, slots=True)
class BookState:
    """State of one book, and the seconds since it left `live`; 0 while it is live."""

    state: str
    not_live_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Load:
    """The figures that decide on the status."""

    queue_size: int
    queue_max: int
    lag_seconds: float
    books: Mapping[str, BookState]  # instrument -> its state


def status_of(load: Load, *, heartbeat_age: float = 0.0, heartbeat_interval: float = 1.0) -> Status:
    """`degraded` and `unhealthy` by the rule of `/status`, else `healthy`. Times are seconds."""
    if (
        load.queue_size > UNHEALTHY_QUEUE * load.queue_max
        or any(book.not_live_seconds > LONGEST_NOT_LIVE_SECONDS for book in load.books.values())
        or heartbeat_age > MISSED_HEARTBEATS * heartbeat_interval
    ):
        return "unhealthy"
    if (
        load.queue_size > DEGRADED_QUEUE * load.queue_max
        or load.lag_seconds > DEGRADED_LAG_SECONDS
        or any(book.state != LIVE for book in load.books.values())
    ):
        return "degraded"
    return "healthy"


def reasons_of(load: Load, *, heartbeat_age: float = 0.0, heartbeat_interval: float = 1.0) -> tuple[str, ...]:
    """The causes of a status that is not healthy, as the alerts name them."""
    causes = {
        "queue": load.queue_size > DEGRADED_QUEUE * load.queue_max,
        "lag": load.lag_seconds > DEGRADED_LAG_SECONDS,
        "books": any(book.state != LIVE for book in load.books.values()),
        "heartbeat": heartbeat_age > MISSED_HEARTBEATS * heartbeat_interval,
    }
    return tuple(name for name, holds in causes.items() if holds)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusFigures:
    """The eight fields of `/status`. `memory_bytes` is the resident memory of all processes."""

    status: Status
    uptime_seconds: float
    processed: int
    queue_size: int
    memory_bytes: float
    clients: int
    scenario: str
    last_heartbeat: datetime


def status_body(figures: StatusFigures) -> dict[str, Any]:
    """The eight fields of `GET /status`, in their order."""
    return {
        "status": figures.status,
        "uptime_seconds": round(figures.uptime_seconds, 2),
        "total_messages_processed": figures.processed,
        "current_queue_size": figures.queue_size,
        "memory_usage_mb": round(figures.memory_bytes / 2**20, 1),
        "active_clients": figures.clients,
        "current_scenario": figures.scenario,
        "last_heartbeat": format_time(figures.last_heartbeat),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusDetails:
    """The additive fields of `/status` that the process of the books knows.

    `books` maps instruments to states. `run_id`, `started` and `phase` are those of the run; all
    are None without one, and `phase` also after the last phase.
    """

    lag_seconds: float
    queue_max: int
    queue_peak: int
    dropped: int
    backpressure_seconds: float
    books: Mapping[str, str]
    run_id: str | None = None
    started: datetime | None = None
    phase: int | None = None


def details_body(details: StatusDetails) -> dict[str, Any]:
    """The fields after the eight of `GET /status`, without `configuration`."""
    run = None
    if details.run_id is not None:
        started = None if details.started is None else format_time(details.started)
        run = {"run_id": details.run_id, "started": started, "phase": details.phase}
    return {
        **_load_fields(details),
        "dropped": details.dropped,
        "backpressure_seconds": round(details.backpressure_seconds, 3),
        "books": dict(details.books),
        "scenario_running": run is not None,
        "scenario_run": run,
    }


def heartbeat_body(figures: StatusFigures, details: StatusDetails, now: datetime) -> dict[str, Any]:
    """A message `heartbeat`, without `seq` and `epoch`."""
    return {
        "type": "heartbeat",
        **status_body(figures),
        **_load_fields(details),
        "books": dict(details.books),
        "timestamp": format_time(now),
    }


def _load_fields(details: StatusDetails) -> dict[str, Any]:
    return {"lag_ms": round(details.lag_seconds * 1_000, 3), "queue_max": details.queue_max, "queue_peak": details.queue_peak}


def scenarios_body(files: Mapping[str, str], current: str) -> dict[str, Any]:
    """The body of `GET /scenarios`; `files` maps each scenario to its file, in order."""
    return {"available_scenarios": list(files), "current_scenario": current, "scenario_files": dict(files)}
