"""SQL of `report_ids` (store layer): a report takes effect once, whatever Redis has lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from db.copy import empty_staging, escaped, insert_staged, stage_rows
from db.postgres import Cursor
from db.reports.model import Report

_COLUMNS = "bot, kind, id, digest, received"
_Key = tuple[str, str, str]


class Received(Protocol):
    """A report with its digest and the time of its reception: `db.bus.QueuedReport`."""

    @property
    def digest(self) -> bytes: ...

    @property
    def received(self) -> datetime: ...

    @property
    def report(self) -> Report: ...


@dataclass(frozen=True, slots=True)
class NumberedReport:
    """A report that is stored for the first time, with its number in the store."""

    seq: int
    received: datetime
    report: Report


@dataclass(frozen=True, slots=True)
class Claimed:
    """The new reports of a batch in their order, and the others.

    `conflicts` have another content than the stored report of their id, which stays. `repeated` are
    the duplicates.
    """

    new: tuple[NumberedReport, ...]
    repeated: tuple[Report, ...]
    conflicts: tuple[Report, ...]

    @property
    def duplicates(self) -> int:
        """The number of the duplicates."""
        return len(self.repeated)


def claim_reports(cursor: Cursor, batch: Sequence[Received]) -> Claimed:
    """Store the ids of a batch, and give the new reports their numbers, in order.

    Call it first in the transaction that stores the reports.
    """
    fresh, stored = _insert(cursor, batch)
    new: list[Received] = []
    conflicts: list[Report] = []
    repeated: list[Report] = []
    for each in batch:
        key = _key(each.report)
        if fresh.get(key) == each.digest:
            del fresh[key]
            stored[key] = each.digest
            new.append(each)
        elif stored.get(key, fresh.get(key)) == each.digest:
            repeated.append(each.report)
        else:
            conflicts.append(each.report)
    cursor.execute("SELECT nextval('report_seq') FROM generate_series(1, %s)", (len(new),))
    numbers = sorted(number for (number,) in cursor.fetchall())
    numbered = tuple(NumberedReport(seq, each.received, each.report) for seq, each in zip(numbers, new, strict=True))
    return Claimed(numbered, tuple(repeated), tuple(conflicts))


def _insert(cursor: Cursor, batch: Sequence[Received]) -> tuple[dict[_Key, bytes], dict[_Key, bytes]]:
    """Insert the ids; return (new ones, those stored before): key -> digest."""
    lines = []
    for each in batch:
        report = each.report
        lines.append(f"{report.bot}\t{report.kind}\t{escaped(report.id)}\t\\\\x{each.digest.hex()}\t{each.received}\n")
    staging = stage_rows(cursor, "report_ids", _COLUMNS, lines)
    cursor.execute("SAVEPOINT report_ids")
    if insert_staged(cursor, "report_ids", _COLUMNS) == len(batch):  # the usual case; RETURNING would cost 4 µs per report
        empty_staging(cursor, "report_ids")
        return {_key(each.report): each.digest for each in batch}, {}
    cursor.execute("ROLLBACK TO SAVEPOINT report_ids")
    # ctid: the first of two equal ids in a batch wins.
    cursor.execute(
        f"INSERT INTO report_ids ({_COLUMNS}) SELECT {_COLUMNS} FROM {staging} ORDER BY ctid"  # noqa: S608
        " ON CONFLICT DO NOTHING RETURNING bot, kind, id, digest"
    )
    fresh = {(bot, kind, name): bytes(digest) for bot, kind, name, digest in cursor.fetchall()}
    cursor.execute(f"SELECT DISTINCT r.bot, r.kind, r.id, r.digest FROM report_ids r JOIN {staging} USING (bot, kind, id)")  # noqa: S608
    found = {(bot, kind, name): bytes(digest) for bot, kind, name, digest in cursor.fetchall()}
    empty_staging(cursor, "report_ids")
    return fresh, {key: digest for key, digest in found.items() if key not in fresh}


def _key(report: Report) -> _Key:
    return report.bot, report.kind, report.id
