"""Periods and limits of checks and reports, in seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Periods and limits in seconds. Tests shorten them; the product has the defaults."""

    beat: float = 1.0  # between two heartbeats of a process
    large_report: float = 5.0  # between two reports above 8 KiB
    check: float = 5.0  # between two checks of one part
    limit: float = 1.5  # of one check
    unhealthy: float = 15.0  # after the last success of a check
    down: float = 15.0  # after the last heartbeat of a process
    settle: float = 5.0  # after an outage of the bus, for the processes to report again
    backing_off: float = 60.0  # of a source that is not live
    unstored: float = 30.0  # age of the oldest message that is not stored
    silent_relay: float = 10.0  # of a hub
    degraded: float = 3600.0  # after an entry of the bus was parked


DEFAULT = Timing()
