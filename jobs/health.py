"""Health check of the jobs process, for a container: `python -m jobs.health`.

Exits with 0, or names the silent sources.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta

from config.settings import Settings
from db.bus import Board, BusError
from db.timestamps import parse_time, utc_now
from jobs.feeds.status import REPORT_SECONDS
from ops import startup

SILENT_AFTER = timedelta(seconds=4 * REPORT_SECONDS)


def silent_sources(config: Settings, bus: Board, now: datetime) -> list[str]:
    """Return the configured sources without a recent report.

    The jobs process hangs, or waits for the store. Raises `BusError`.
    """
    reports = bus.sources()
    names = [spec.name for spec in config.sources]
    return [name for name in names if name not in reports or now - parse_time(reports[name]["reported"]) > SILENT_AFTER]


def main() -> None:
    """Run the health check."""
    config = startup.prepare("jobs")
    if config.redis_url is None:
        sys.exit(startup.missing_servers("jobs"))
    try:
        if silent := silent_sources(config, startup.open_bus(config), utc_now()):
            sys.exit("silent: " + ", ".join(silent))
    except BusError as error:
        sys.exit(f"bus: {error}")


if __name__ == "__main__":
    main()
