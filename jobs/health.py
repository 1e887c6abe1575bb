"""Whether the jobs process works, for a container's health check: `python -m jobs.health` exits with 0 or says what is silent."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta

from config import settings
from config.settings import Settings
from db.bus import Bus, BusError
from db.timestamps import parse_time, utc_now
from jobs.feeds.status import REPORT_SECONDS

SILENT_AFTER = timedelta(seconds=4 * REPORT_SECONDS)


def silent_sources(config: Settings, bus: Bus, now: datetime) -> list[str]:
    """Configured sources that the jobs process has not reported for a while: it hangs, or still waits for the store. Raises `BusError`."""
    reports = bus.sources()
    names = [spec.name for spec in config.sources]
    return [name for name in names if name not in reports or now - parse_time(reports[name]["reported"]) > SILENT_AFTER]


def main() -> None:
    """Entry point."""
    config = settings.load()
    bus = Bus(str(config.redis_url), utc_now)
    try:
        if silent := silent_sources(config, bus, utc_now()):
            sys.exit("silent: " + ", ".join(silent))
    except BusError as error:
        sys.exit(f"bus: {error}")


if __name__ == "__main__":
    main()
