"""Health check for a container: `python -m jobs.health`.

Exits with 0 if every part does its work, else with 1, and names the parts. It judges the reports of
all processes in the same way as `GET /health`, and needs no REST process.
"""

from __future__ import annotations

if __name__ == "__main__":
    import gc

    gc.disable()  # modules are no garbage, and each search visits all of them

import sys
from datetime import datetime

from config.settings import Settings
from config.venues import with_prices
from db.bus import Bus, BusError
from db.timestamps import utc_now
from health.checks import BusCheck
from health.probe import CheckFailed
from health.reports import read_processes
from health.timing import DEFAULT, Timing
from health.verdict import judge
from health.watch import BUS
from ops import startup


def failing_parts(config: Settings, bus: Bus, now: datetime, timing: Timing = DEFAULT) -> dict[str, str]:
    """Part -> reason, of the parts that fail.

    A configured source without a report fails too: its jobs process hangs, or waits for the store.
    """
    try:
        table = read_processes(bus, now)
    except BusError as error:
        return {BUS: str(error)}
    verdict = judge(table.expected(), now, own={}, timing=timing)
    failing = dict(verdict.failing)
    if "jobs" in failing and (failure := _bus_failure(bus, timing)):
        return {BUS: failure}  # reports cannot be written: the processes may be well
    for spec in with_prices(config.sources):
        if spec.name not in verdict.sources:
            failing.setdefault(f"source:{spec.name}", "no report")
    return failing


def _bus_failure(bus: Bus, timing: Timing) -> str | None:
    try:
        BusCheck(bus, lambda: "jobs.health", timing.limit)()
    except CheckFailed as error:
        return str(error)
    return None


def main(timing: Timing = DEFAULT) -> None:
    """Run the health check."""
    config = startup.prepare("jobs")
    if config.redis_url is None:
        sys.exit(startup.missing_servers("jobs"))
    if failing := failing_parts(config, startup.open_bus(config), utc_now(), timing):
        sys.exit("\n".join(f"{part}: {reason}" for part, reason in sorted(failing.items())))


if __name__ == "__main__":
    main()
