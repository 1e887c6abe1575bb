"""The fills that a batch adds or changes, over those of the store; corrections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, cast

from db.postgres import Cursor
from db.reports.corrections import CorrectionRow, corrections_of, insert_corrections
from db.reports.fills import FillRow, PositionKey, change_fills, find_fills, insert_fills
from db.reports.model import Correction, Fill
from db.reports.report_ids import NumberedReport
from jobs.observer.figures.history import FillCorrection, corrected
from jobs.observer.fold.accounts import DEFAULT_CURRENCY

FillKey = tuple[str, str]  # bot, fill id


@dataclass(slots=True)
class WorkingFills:
    """The new and changed fills of a batch; nothing of them is written before `write`."""

    rows: dict[FillKey, FillRow] = field(default_factory=dict)
    new: set[FillKey] = field(default_factory=set)
    changed: set[FillKey] = field(default_factory=set)
    before: dict[FillKey, FillRow] = field(default_factory=dict)  # stored values of the changed ones
    corrected: set[FillKey] = field(default_factory=set)  # with values that positions need

    def add(self, row: FillRow) -> None:
        """Add a new fill."""
        self.new.add((row.bot, row.fill_id))
        self.rows[row.bot, row.fill_id] = row

    def change(self, row: FillRow, before: FillRow) -> None:
        """Replace the fill `before`, new or stored."""
        key = row.bot, row.fill_id
        self.rows[key] = row
        if key not in self.new:
            self.changed.add(key)
            self.before.setdefault(key, before)

    def over(self, stored: Iterable[FillRow], mine: Iterable[FillRow]) -> list[FillRow]:
        """The stored fills with their changes, and those of `mine` that are not stored."""
        found = {(row.bot, row.fill_id): row for row in stored}
        found.update({(row.bot, row.fill_id): row for row in mine})
        return [self.rows.get(key, row) for key, row in found.items()]

    def by_position(self) -> dict[PositionKey, list[FillRow]]:
        """Position -> its new and corrected fills."""
        found: dict[PositionKey, list[FillRow]] = {}
        for key in (*self.new, *(self.corrected - self.new)):
            found.setdefault(self.rows[key].position, []).append(self.rows[key])
        return found

    def changes(self) -> list[tuple[FillRow | None, FillRow]]:
        """(before, after) of each new or changed fill; before is None for a new one."""
        return [(self.before.get(key), row) for key, row in self.rows.items()]

    def new_rows(self) -> list[FillRow]:
        """The new fills, in the order of their numbers."""
        return sorted((self.rows[key] for key in self.new), key=lambda row: row.seq)

    def write(self, cursor: Cursor) -> None:
        """Store the new fills and the changed ones."""
        insert_fills(cursor, self.new_rows())
        change_fills(cursor, [self.rows[key] for key in sorted(self.changed)])


def take_fills(
    cursor: Cursor, reports: Sequence[NumberedReport], currencies: Mapping[str, str], oldest: datetime | None = None
) -> WorkingFills:
    """The new fills of a batch and the fills that its corrections change. Stores the corrections.

    `currencies` is symbol -> currency of the instrument. A correction of a fill from before
    `oldest` has no effect, because the fills before it are deleted.
    """
    working = WorkingFills()
    targets: dict[str, set[str]] = {}  # bot -> fill ids
    corrections: list[CorrectionRow] = []
    for each in reports:
        report = each.report
        if isinstance(report, Fill):
            working.add(_fill_row(each, report, currencies))
            targets.setdefault(report.bot, set()).add(report.id)
        elif isinstance(report, Correction):
            corrections.append(_correction_row(each, report))
            targets.setdefault(report.bot, set()).add(report.fill_id)
    insert_corrections(cursor, corrections)
    for bot, fill_ids in targets.items():
        _correct(cursor, working, bot, fill_ids, oldest)
    return working


def _correct(cursor: Cursor, working: WorkingFills, bot: str, fill_ids: set[str], oldest: datetime | None) -> None:
    """Apply all corrections of these fills, also those that came before their fill."""
    corrections = corrections_of(cursor, bot, fill_ids)
    ids = {row.fill_id for row in corrections}
    rows = {fill_id: working.rows[bot, fill_id] for fill_id in ids if (bot, fill_id) in working.new}
    rows.update(
        {fill_id: row for fill_id, row in find_fills(cursor, bot, ids - rows.keys()).items() if oldest is None or row.time >= oldest}
    )
    counted, voided = corrected(rows.values(), map(_terms, corrections))
    results = [*counted, *(_voided(rows[fill_id]) for fill_id in voided)]
    for row in results:
        if row != rows[row.fill_id]:
            working.change(row, rows[row.fill_id])
            working.corrected.add((bot, row.fill_id))


def _voided(row: FillRow) -> FillRow:
    """The fill without effect and figures; it keeps its values."""
    return replace(row, voided=True, realised=None, arrival_price=None, slippage_bps=None, latency_ms=None)


def _fill_row(each: NumberedReport, fill: Fill, currencies: Mapping[str, str]) -> FillRow:
    currency = fill.currency or currencies.get(fill.symbol, DEFAULT_CURRENCY)
    return FillRow(
        fill.bot, fill.id, fill.time, each.received, each.seq, fill.strategy, fill.order_id, fill.symbol, fill.side, fill.quantity,
        fill.price, fill.fee, fill.fee_currency or currency, currency, fill.multiplier, fill.liquidity,
    )  # fmt: skip


def _correction_row(each: NumberedReport, correction: Correction) -> CorrectionRow:
    return CorrectionRow(
        correction.bot, correction.id, correction.fill_id, correction.time, each.received, each.seq, correction.action,
        correction.quantity, correction.price, correction.fee,
    )  # fmt: skip


def _terms(row: CorrectionRow) -> FillCorrection:
    action = cast(Literal["cancel", "replace"], row.action)
    return FillCorrection(row.fill_id, row.time, row.seq, action, row.quantity, row.price, row.fee)
