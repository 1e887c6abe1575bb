"""Health check for a container of an observer: `python -m jobs.observer.health`.

Exits with 0 if an observer of this host has reported and its checks pass, else with 1.
"""

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


def failing_parts(bus: Bus, host: str, now: datetime, timing: Timing = DEFAULT) -> dict[str, str]:
    """Part -> reason, of the parts that fail for the observers of a host."""
    try:
        table = read_processes(bus, now)
    except BusError as error:
        return {BUS: str(error)}
    own = [each for each in table.expected() if each.role == "observer" and each.report and each.report.body.get("host") == host]
    living = [each for each in own if not each.is_down(timing.down)]
    if not living:
        return {"observer": "no observer of this host reports"}
    return {part: reason for each in living if each.report for part, reason in each.report.failing.items()}


def main() -> None:
    """Run the health check."""
    config = startup.prepare("observer")
    if config.redis_url is None:
        sys.exit(startup.missing_servers("observer"))
    if failing := failing_parts(startup.open_bus(config), socket.gethostname(), utc_now()):
        sys.exit("\n".join(f"{part}: {reason}" for part, reason in sorted(failing.items())))


if __name__ == "__main__":
    main()
