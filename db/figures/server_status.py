"""The body of `/status`, from the last heartbeat and the report of the process `books`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from db.scenarios.status import MISSED_HEARTBEATS
from db.timestamps import format_time, parse_time

UNHEALTHY = "unhealthy"
LOST_STATE, LOST_REASON = "stale", "disconnected"  # of every book while no heartbeat arrives
# The fields of a heartbeat that `/status` repeats, after `status`.
_FIGURES = (
    "uptime_seconds",
    "total_messages_processed",
    "current_queue_size",
    "memory_usage_mb",
    "active_clients",
    "current_scenario",
)
_LOAD = ("lag_ms", "queue_max", "queue_peak")
# The fields of `/status` that `/health` does not have itself.
HEALTH_FIELDS = (*_FIGURES[1:], "last_heartbeat")


@dataclass(frozen=True, slots=True)
class StatusConfiguration:
    """The settings in `/status`; none is a secret.

    `host` and `port` are those of REST, `websocket` is the URL of `/ws`. `scenario` is `SCENARIO`.
    """

    host: str
    port: int
    websocket: str
    scenario: str
    heartbeat_interval: float  # seconds


def lost_since(heartbeat: Mapping[str, Any] | None, interval: float, now: datetime) -> datetime | None:
    """The time since which heartbeats are missing; None while they arrive, or without any ever.

    They are missing three intervals of `interval` seconds after the last one.
    """
    if heartbeat is None:
        return None
    since = parse_time(heartbeat["timestamp"]) + timedelta(seconds=MISSED_HEARTBEATS * interval)
    return since if now > since else None


def server_status(
    heartbeat: Mapping[str, Any], report: Mapping[str, Any] | None, configuration: StatusConfiguration, now: datetime
) -> dict[str, Any]:
    """The body of `/status`: eight fields in their order, then the additive ones.

    `heartbeat` is the last one, `report` the part `books` of the acting process; None: there is no
    such process. While heartbeats are missing, all books are `stale`.
    """
    is_lost = lost_since(heartbeat, configuration.heartbeat_interval, now) is not None
    known = report or {}
    run = None if is_lost else known.get("scenario_run")
    return {
        "status": UNHEALTHY if is_lost else heartbeat["status"],
        **{name: heartbeat[name] for name in _FIGURES},
        "last_heartbeat": heartbeat["timestamp"],
        **{name: heartbeat[name] for name in _LOAD},
        "dropped": known.get("dropped", 0),
        "backpressure_seconds": known.get("backpressure_seconds", 0.0),
        "books": {name: LOST_STATE if is_lost else state for name, state in heartbeat["books"].items()},
        "scenario_running": run is not None,
        "scenario_run": run,
        "configuration": {
            "host": configuration.host,
            "port": configuration.port,
            "websocket": configuration.websocket,
            "processing_delay_ms": known.get("processing_delay_ms"),
            "scenario": configuration.scenario,
        },
    }


def health_fields(heartbeat: Mapping[str, Any] | None) -> dict[str, Any]:
    """The fields of `/status` in `/health`; all are None without a heartbeat."""
    if heartbeat is None:
        return dict.fromkeys(HEALTH_FIELDS)
    return {**{name: heartbeat[name] for name in _FIGURES[1:]}, "last_heartbeat": heartbeat["timestamp"]}


def current_scenario(heartbeat: Mapping[str, Any] | None, change: Mapping[str, Any] | None, setting: str) -> str:
    """The scenario that is played: that of the newer of the last heartbeat and the last change.

    `setting` is that of a system without both. A heartbeat may be older than a confirmed change.
    """
    found = [each for each in (heartbeat, change) if each is not None]
    if not found:
        return setting
    return str(max(found, key=lambda each: parse_time(each["timestamp"]))["current_scenario"])


def marked_row(row: Mapping[str, Any], heartbeat: Mapping[str, Any] | None, interval: float, now: datetime) -> dict[str, Any]:
    """A row of `/book/states`, without its measures.

    While heartbeats are missing, the state is `stale`, and the age of the last message grows.
    """
    found = {name: value for name, value in row.items() if name != "measures"}
    if heartbeat is not None and (lost := lost_since(heartbeat, interval, now)) is not None:
        age = found["last_message_age_seconds"]
        silent = (now - parse_time(heartbeat["timestamp"])).total_seconds()
        found |= {"state": LOST_STATE, "reason": LOST_REASON, "since": format_time(lost)}
        found["last_message_age_seconds"] = None if age is None else round(age + silent, 3)
    return found
