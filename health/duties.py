"""The duties of all jobs processes, from their reports. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from health.reports import Report
from health.timing import Timing

# A process that hangs or was killed has lost its duties by then.
FRESH = Timing(down=5.0)


@dataclass(frozen=True, slots=True)
class HeldDuty:
    """A duty, its process, and the time of its win; both are None if nobody has it."""

    duty: str
    process: str | None
    since: str | None


def held_duties(reports: Iterable[Report], known: Sequence[str] = ()) -> list[HeldDuty]:
    """The duties that these processes have, one row per process, and the others of `known`."""
    rows: dict[str, list[HeldDuty]] = {duty: [] for duty in known}
    for report in sorted(reports, key=lambda each: each.name):
        held = report.part("duties").get("held")
        for duty, since in sorted(held.items()) if isinstance(held, dict) else ():
            rows.setdefault(duty, []).append(HeldDuty(duty, report.name, since if isinstance(since, str) else None))
    return [row for duty, found in rows.items() for row in found or [HeldDuty(duty, None, None)]]


def held_wrongly(rows: Iterable[HeldDuty]) -> dict[str, int]:
    """Duty -> number of its holders, of the duties that nobody or several processes have."""
    holders: dict[str, int] = {}
    for row in rows:
        holders[row.duty] = holders.get(row.duty, 0) + (row.process is not None)
    return {duty: number for duty, number in holders.items() if number != 1}
