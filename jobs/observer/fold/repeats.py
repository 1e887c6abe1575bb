"""The effect of reports that an earlier batch has stored, for events that may be missing.

A process that is killed between the commit and the publish leaves its entries on the bus. The next
one reads them again, and publishes their events with the same ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from db.postgres import Cursor
from db.reports.fills import FillRow, PositionKey, find_fills
from db.reports.model import Fill, Report
from jobs.observer.figures.history import Step
from jobs.observer.fold.positions import DayTerms, steps_since


@dataclass(frozen=True, slots=True)
class Happened:
    """The effect of a batch, as events show it: reports, their fills, and the steps of these."""

    reports: Sequence[Report] = ()
    fills: Sequence[FillRow] = ()
    steps: Sequence[Step[FillRow]] = ()


NOTHING = Happened()


def happened_before(cursor: Cursor, reports: Sequence[Report], terms: DayTerms) -> Happened:
    """The effect of stored reports. Call it when the fills of the batch are written.

    The steps are those of the present state: a correction or a late fill may have come since.
    """
    names: dict[str, list[str]] = {}  # bot -> fill ids
    for report in reports:
        if isinstance(report, Fill):
            names.setdefault(report.bot, []).append(report.id)
    rows = [row for bot, fill_ids in names.items() for row in find_fills(cursor, bot, fill_ids).values()]
    positions: dict[PositionKey, list[FillRow]] = {}
    for row in rows:
        positions.setdefault(row.position, []).append(row)
    steps: list[Step[FillRow]] = []
    for key, own in sorted(positions.items()):
        wanted = {row.fill_id for row in own}
        found = steps_since(cursor, key, min(row.time for row in own), terms)
        steps += [step for step in found if step.fill.fill_id in wanted]
    return Happened(reports, sorted(rows, key=lambda row: row.seq), steps)
