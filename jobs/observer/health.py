"""Health check for a container of an observer: `python -m jobs.observer.health`.

Exits with 0 if an observer of this host has reported and its checks pass, else with 1.
"""

from __future__ import annotations

from datetime import datetime

from db.bus import Bus
from health.timing import DEFAULT, Timing
from jobs.runtime import container_check

ROLE = "observer"


def failing_parts(bus: Bus, host: str, now: datetime, timing: Timing = DEFAULT) -> dict[str, str]:
    """Part -> reason, of the parts that fail for the observers of a host."""
    return container_check.failing_parts(bus, ROLE, host, now, timing)


if __name__ == "__main__":
    container_check.check(ROLE)
