"""Health check for a container of a role of which one process is active."""

from __future__ import annotations

import socket
import sys
from datetime import datetime

from db.bus import Bus, BusError
from db.timestamps import utc_now
from health.reports import read_processes
from health.timing import DEFAULT, Timing
from health.watch import BUS
from ops import startup


def failing_parts(bus: Bus, role: str, host: str, now: datetime, timing: Timing = DEFAULT) -> dict[str, str]:
    """Part -> reason, of the parts that fail for the processes of a role on a host."""
    try:
        table = read_processes(bus, now)
    except BusError as error:
        return {BUS: str(error)}
    own = [each for each in table.expected() if each.role == role and each.report and each.report.body.get("host") == host]
    living = [each for each in own if not each.is_down(timing.down)]
    if not living:
        return {role: f"no {role} of this host reports"}
    return {part: reason for each in living if each.report for part, reason in each.report.failing.items()}


def check(role: str) -> None:
    """Exit with 0 if a process of this role and host reports and its checks pass, else with 1."""
    config = startup.prepare(role)
    if config.redis_url is None:
        sys.exit(startup.missing_servers(role))
    if failing := failing_parts(startup.open_bus(config), role, socket.gethostname(), utc_now()):
        sys.exit("\n".join(f"{part}: {reason}" for part, reason in sorted(failing.items())))
