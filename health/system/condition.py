"""The condition of the machine and of every process: `GET /api/system/health`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from health.measures.resources import MachineFigures
from health.system.state import SystemState
from health.verdict import DEGRADED, HEALTHY, UNHEALTHY
from health.watch import BUS, DATABASE

ROLES = ("hub", "rest", "jobs", "books", "observer")
ACTING = ("jobs", "books", "observer")  # of which one process must act
# Percent above which a part of the machine is degraded, and above which it is unhealthy.
BUSY, EXHAUSTED = 80.0, 90.0
DISK_BUSY, DISK_EXHAUSTED = 90.0, 95.0
_ORDER = (HEALTHY, DEGRADED, UNHEALTHY)


def worst(statuses: Sequence[str]) -> str:
    """The worst of these statuses; `healthy` if there is none."""
    return max(statuses, key=_ORDER.index, default=HEALTHY)


def of_machine(machine: MachineFigures) -> str:
    """`degraded` above 80 % of CPU or memory, `unhealthy` above 90 %."""
    return worst([_usage(machine.cpu_percent)["status"], _usage(machine.memory_percent)["status"]])


def system_health(state: SystemState, alerts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the answer of `GET /api/system/health`; `alerts` are the active ones."""
    machine, failing = state.machine, state.verdict.failing
    processes = {role: _processes(state, role) for role in ROLES}
    servers = {"postgres": _server(failing, DATABASE), "redis": _server(failing, BUS)}
    statuses = [each["status"] for each in (*processes.values(), *servers.values())]
    return {
        "status": worst([of_machine(machine), *statuses]),
        "components": {
            "cpu": _usage(machine.cpu_percent),
            "memory": _usage(machine.memory_percent),
            "disk": _usage(machine.disk_usage_percent, DISK_BUSY, DISK_EXHAUSTED),
            **processes,
            **servers,
        },
        "resources": {"cpu": machine.cpu_percent, "memory": machine.memory_percent, "disk": machine.disk_usage_percent},
        "connections": _connections(state),
        "alerts": list(alerts),
    }


def _usage(percent: float | None, busy: float = BUSY, exhausted: float = EXHAUSTED) -> dict[str, Any]:
    if percent is not None and percent > exhausted:
        return {"status": UNHEALTHY, "usage_percent": percent}
    return {"status": DEGRADED if percent is not None and percent > busy else HEALTHY, "usage_percent": percent}


def _server(failing: Mapping[str, str], part: str) -> dict[str, Any]:
    return {"status": UNHEALTHY, "reason": failing[part]} if part in failing else {"status": HEALTHY, "reason": None}


def _processes(state: SystemState, role: str) -> dict[str, Any]:
    """Processes of one role: `unhealthy` if one is away, `degraded` if a part of one fails.

    REST answers this request, so that it lives, also before its first report.
    """
    known = state.of_role(role)
    down = [process.name for process in known if state.is_down(process)]
    failing = {part: reason for report in state.living(role) for part, reason in report.failing.items()}
    away = bool(down) or (not known and role != "rest") or (role in ACTING and state.acting(role) is None)
    status = UNHEALTHY if away else DEGRADED if failing else HEALTHY
    return {"status": status, "processes": len(known) - len(down), "down": down, "failing": failing}


def _connections(state: SystemState) -> dict[str, str]:
    """`market_data`: a source gives prices; `execution`: the observer takes reports of bots."""
    live = any(source.get("state") in ("live", "ended") for source in state.verdict.sources.values())
    works = {
        "market_data": live and state.acting("jobs") is not None,
        "execution": BUS not in state.verdict.failing and state.acting("observer") is not None,
        "database": DATABASE not in state.verdict.failing,
    }
    return {name: "connected" if well else "disconnected" for name, well in works.items()}
