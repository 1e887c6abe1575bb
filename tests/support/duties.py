"""The duties of running jobs processes, as their reports have them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import ceil

from db.bus import Bus
from db.timestamps import utc_now
from health.reports import read_processes


def holders(bus: Bus, duties: Sequence[str]) -> dict[str, list[int]]:
    """Duty -> pids of the processes that report it."""
    found: dict[str, list[int]] = {duty: [] for duty in duties}
    for process in read_processes(bus, utc_now()).expected():
        if process.report is not None and process.age_seconds < 3:
            for duty in process.report.part("duties").get("held", ()):
                found[duty].append(int(process.report.body["pid"]))
    return found


def is_shared(bus: Bus, duties: Sequence[str], number: int) -> bool:
    """Return True if so many processes have all duties, each duty once, in even shares."""
    pids = holders(bus, duties)
    if any(len(each) != 1 for each in pids.values()):
        return False
    sizes = Counter(pid for [pid] in pids.values())
    return len(sizes) == number and max(sizes.values()) <= ceil(len(duties) / number)
