"""One batch of reports, within one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from db.postgres import Cursor
from db.reports.fills import FillRow
from db.reports.heartbeats import HeartbeatRow, insert_heartbeats
from db.reports.model import Heartbeat, Report, Signal
from db.reports.positions import PositionRow
from db.reports.report_ids import Claimed, NumberedReport, Received, claim_reports
from db.reports.signals import SignalRow, insert_signals
from jobs.observer.figures.history import Step
from jobs.observer.fold.fills import take_fills
from jobs.observer.fold.orders import OrderChange, fold_orders
from jobs.observer.fold.positions import DayTerms, fold_positions, make_checkpoints
from jobs.observer.fold.repeats import NOTHING, Happened, happened_before

# A late report reads all fills of its position since the last checkpoint.
STATEMENT_TIMEOUT = "60s"


@dataclass(frozen=True, slots=True)
class FoldTerms:
    """Facts from outside of the batch.

    `currencies` is symbol -> currency of the instrument. Fills from before `oldest` may be deleted
    by retention. `begins_day` is true for the first batch of `days.today` in a process.
    """

    days: DayTerms
    currencies: Mapping[str, str] = field(default_factory=dict)
    oldest: datetime | None = None
    begins_day: bool = True


@dataclass(frozen=True, slots=True)
class Folded:
    """The effect of a batch: new reports, changed rows, and the steps of the new fills."""

    new: Sequence[NumberedReport]
    repeated: Sequence[Report]  # the duplicates
    conflicts: Sequence[Report]
    fills: Sequence[FillRow]  # new ones
    fill_changes: Sequence[tuple[FillRow | None, FillRow]]  # (before, after); before None: new
    order_changes: Sequence[OrderChange]
    positions: Sequence[PositionRow]  # changed ones
    steps: Sequence[Step[FillRow]]
    recomputed: int  # positions that were computed again
    day: date  # of the checkpoints
    checkpoints: int  # those of a new day
    before: Happened = NOTHING  # the effect of an earlier batch, whose events may be missing

    @property
    def duplicates(self) -> int:
        """The number of the duplicates."""
        return len(self.repeated)

    @property
    def happened(self) -> Happened:
        """The effect of this batch, as events show it."""
        return Happened([each.report for each in self.new], self.fills, self.steps)


def fold(cursor: Cursor, batch: Sequence[Received], terms: FoldTerms, *, again: bool = False) -> Folded:
    """Store a batch with all of its effects. Reports that are stored already have none.

    `again`: the batch was read before, so that `before` has the effect of its stored reports.
    """
    cursor.execute("SELECT set_config('statement_timeout', %s, true)", (STATEMENT_TIMEOUT,))
    # Two observers may overlap for a moment while one takes over from the other.
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext('tickwire reports'))")
    claimed = claim_reports(cursor, batch)
    checkpoints = make_checkpoints(cursor, terms.days) if terms.begins_day else 0
    working = take_fills(cursor, claimed.new, terms.currencies, terms.oldest)
    orders = fold_orders(cursor, claimed.new, working)
    positions = fold_positions(cursor, working, terms.days)
    _insert_others(cursor, claimed)
    working.write(cursor)
    steps = [step for step in positions.steps if (step.fill.bot, step.fill.fill_id) in working.new]
    return Folded(
        claimed.new, claimed.repeated, claimed.conflicts, working.new_rows(), working.changes(), orders, positions.rows, steps,
        positions.recomputed, terms.days.today, checkpoints,
        happened_before(cursor, claimed.repeated, terms.days) if again else NOTHING,
    )  # fmt: skip


def _insert_others(cursor: Cursor, claimed: Claimed) -> None:
    signals, heartbeats = [], []
    for each in claimed.new:
        report = each.report
        if isinstance(report, Signal):
            signals.append(
                SignalRow(
                    report.bot, report.id, report.time, each.received, each.seq, report.strategy, report.symbol, report.signal,
                    report.outcome, report.price, report.confidence,
                )
            )  # fmt: skip
        elif isinstance(report, Heartbeat):
            heartbeats.append(HeartbeatRow(report.bot, report.id, report.time, report.strategy, report.equity, report.cash))
    insert_signals(cursor, signals)
    insert_heartbeats(cursor, heartbeats)
