"""Collectors of the observer and sockets of the hubs: components, stats, readiness. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from db.bus.observability.snapshots import SECTIONS
from db.timestamps import format_time
from health.reports import Process, Report
from health.system.state import SystemState, acting_process, number, total
from health.verdict import DEGRADED, HEALTHY, UNHEALTHY

STATUSES = ("ready", "starting", "stopped", "error")
CIRCUITS = ("closed", "open", "half_open")


def components(state: SystemState) -> dict[str, Any]:
    """Return the answer of `GET /api/system/components`."""
    found = _collectors(state.acting("observer"))
    ready = [each for each in found.values() if each["status"] == "ready"]
    sockets = _websocket(state)
    well = len(ready) == len(found) and sockets["status"] == "ready"
    return {
        "status": HEALTHY if well else DEGRADED if ready else UNHEALTHY,
        "components": {name: _component(name, each) for name, each in found.items()} | {"websocket": sockets},
        "timestamp": format_time(state.now),
    }


def stats(state: SystemState) -> dict[str, Any]:
    """Return the answer of `GET /api/system/stats`."""
    return {
        "api": {
            "running": True,
            "websocket_connections": websocket_connections(state.processes),
            "total_messages_sent": total(report.part("hub").get("delivered") for report in state.living("hub")),
        },
        "collectors": {name: _statistics(name, each) for name, each in _collectors(state.acting("observer")).items()},
    }


def ready_collectors(processes: Sequence[Process]) -> dict[str, bool]:
    """Section -> its collector gives values, as the acting observer reported."""
    return {name: each["status"] == "ready" for name, each in _collectors(acting_process(processes, "observer")).items()}


def websocket_connections(processes: Iterable[Process]) -> int:
    """Clients of all hubs, on Socket.IO and on plain sockets, as of their last reports."""
    hubs = [process.report.part("hub") for process in processes if process.role == "hub" and process.report is not None]
    return total(hub.get(name) for hub in hubs for name in ("clients", "plain_clients"))


def _collectors(observer: Report | None) -> dict[str, Mapping[str, Any]]:
    """Section -> statistics of its collector in the acting observer; `stopped` without one."""
    reported = observer.part("metrics").get("collectors") if observer else None
    known: Mapping[str, Any] = reported if isinstance(reported, dict) else {}
    return {name: _checked(known.get(name)) for name in SECTIONS}


def _checked(reported: Any) -> Mapping[str, Any]:
    """The statistics of a collector, with a known status."""
    found = reported if isinstance(reported, dict) else {}
    return {**found, "status": found.get("status") if found.get("status") in STATUSES else "stopped"}


def _component(name: str, each: Mapping[str, Any]) -> dict[str, Any]:
    circuit = {"circuit": each["circuit"]} if each.get("circuit") in CIRCUITS else {}
    return {
        "name": name,
        "status": each["status"],
        "uptime_seconds": number(each.get("uptime_seconds")) or 0.0,
        **_counts(each),
        **circuit,
    }


def _statistics(name: str, each: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "status": each["status"],
        "uptime": number(each.get("uptime_seconds")) or 0.0,
        **_counts(each),
        "error_rate": number(each.get("error_rate")) or 0.0,
    }


def _counts(each: Mapping[str, Any]) -> dict[str, int]:
    return {key: int(number(each.get(key)) or 0) for key in ("metrics_collected", "errors")}


def _websocket(state: SystemState) -> dict[str, Any]:
    hubs = state.living("hub")
    return {
        "status": "ready" if hubs and not any(report.failing for report in hubs) else "error" if hubs else "stopped",
        "connections": websocket_connections(state.processes),
        "stats": {
            "hubs": len(hubs),
            "socketio_clients": _sum(hubs, "clients"),
            "plain_clients": _sum(hubs, "plain_clients"),
            "delivered": _sum(hubs, "delivered"),
        },
    }


def _sum(hubs: Iterable[Report], name: str) -> int:
    return total(report.part("hub").get(name) for report in hubs)
