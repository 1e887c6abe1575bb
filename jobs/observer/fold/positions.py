"""Positions, round trips and checkpoints after the fills of a batch, in the order (time, seq)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Literal, cast
from zoneinfo import ZoneInfo

from db.figures.conversion import Rates, trade_pnl
from db.figures.positions import in_order, mark
from db.past_quotes import PastQuote, quotes_at
from db.postgres import Cursor
from db.reports.checkpoints import CheckpointRow, checkpoints_of, last_checkpoint, save_checkpoints
from db.reports.fills import FillRow, PositionKey, fills_of
from db.reports.positions import PositionRow, find_positions, positions_without_checkpoint, save_positions
from db.reports.round_trips import delete_round_trips, save_round_trips
from jobs.observer.figures.history import Account, Replay, Step, advance_account, replay
from jobs.observer.fold.accounts import account_of, checkpoint_of, checkpoint_row, position_row, round_trip_row, terms_of
from jobs.observer.fold.days import day_of, days_after, start_of
from jobs.observer.fold.fills import WorkingFills

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
MARK_AGE = timedelta(days=7)  # of the stored price that marks a checkpoint: longer than a weekend


@dataclass(frozen=True, slots=True)
class DayTerms:
    """The zone of days, the day of the last checkpoints, `OBS_MARK`, and rates for fees."""

    zone: ZoneInfo
    today: date
    mark: str = "touch"
    rates: Rates = field(default_factory=lambda: Rates({}))


@dataclass(slots=True)
class FoldedPositions:
    """The changed positions, and the steps of the fills that were applied."""

    rows: list[PositionRow] = field(default_factory=list)
    steps: list[Step[FillRow]] = field(default_factory=list)
    recomputed: int = 0  # positions that were computed again from a checkpoint


def fold_positions(cursor: Cursor, working: WorkingFills, terms: DayTerms) -> FoldedPositions:
    """Apply the new and corrected fills to their positions, and give the fills their profit.

    Call `make_checkpoints` for `terms.today` before, in the same transaction.
    """
    touched = working.by_position()
    stored = find_positions(cursor, touched)
    begin = start_of(terms.today, terms.zone)
    result = FoldedPositions()
    for key, fills in sorted(touched.items()):
        state = stored.get(key)
        first = min(fill.time for fill in fills)
        late = first < begin or (state is not None and state.last_time is not None and first < state.last_time)
        if late or any((fill.bot, fill.fill_id) in working.corrected for fill in fills):
            row, steps = _recompute(cursor, key, fills, working, terms)
            result.recomputed += 1
        else:
            row, steps = _append(cursor, key, state, fills, terms)
        result.rows.append(row)
        result.steps += steps
        for step in steps:
            profit = trade_pnl(step.applied, step.fill, terms.rates)
            if profit != step.fill.realised:
                current = working.rows.get((step.fill.bot, step.fill.fill_id), step.fill)
                working.change(replace(current, realised=profit), current)
    save_positions(cursor, result.rows)
    return result


def make_checkpoints(cursor: Cursor, terms: DayTerms) -> int:
    """Store the checkpoints of `terms.today` that are missing; returns their number."""
    positions = positions_without_checkpoint(cursor, terms.today)
    if not positions:
        return 0
    cut = start_of(terms.today, terms.zone)
    quotes = quotes_at(cursor, [(row.symbol, cut) for row in positions], MARK_AGE)
    rows = []
    for position in positions:
        quote = quotes.get((position.symbol, cut))
        if position.last_time is None or position.last_time < cut:
            rows.append(checkpoint_of(terms.today, position, _mark(position.quantity, quote, terms)))
        else:
            checkpoint, found = _replayed(cursor, position.key, cut, (), terms, [cut])
            account = found.at[cut]
            if account.seq:
                price = _mark(account.position.quantity, quote, terms)
                rows.append(checkpoint_row(terms.today, position.key, account, price, terms_of(None, checkpoint or position)))
    save_checkpoints(cursor, rows)
    return len(rows)


def steps_since(cursor: Cursor, key: PositionKey, since: datetime, terms: DayTerms) -> Sequence[Step[FillRow]]:
    """The steps of the stored fills of a position from the last checkpoint before `since` on."""
    _, found = _replayed(cursor, key, since, (), terms, ())
    return found.steps


def _append(
    cursor: Cursor, key: PositionKey, state: PositionRow | None, fills: Sequence[FillRow], terms: DayTerms
) -> tuple[PositionRow, list[Step[FillRow]]]:
    """Apply fills that are later than all before."""
    account = account_of(state) if state else Account()
    steps = []
    for fill in in_order(fills):
        account, step = advance_account(account, fill)
        steps.append(step)
    save_round_trips(cursor, [round_trip_row(key, step.closed_trip, terms.rates) for step in steps if step.closed_trip])
    last = steps[-1].fill
    return position_row(key, account, last.time, terms_of(last)), steps


def _recompute(
    cursor: Cursor, key: PositionKey, fills: Sequence[FillRow], working: WorkingFills, terms: DayTerms
) -> tuple[PositionRow, Sequence[Step[FillRow]]]:
    """Compute the position again from the last checkpoint before these fills."""
    since = min(fill.time for fill in fills)
    days = days_after(day_of(since, terms.zone), terms.today)
    cuts = [start_of(day, terms.zone) for day in days]
    checkpoint, found = _replayed(cursor, key, since, fills, terms, cuts, working)
    begin = start_of(checkpoint.day, terms.zone) if checkpoint else _BEGINNING
    delete_round_trips(cursor, *key, closed_since=begin)
    closed = [step.closed_trip for step in found.steps if step.closed_trip]
    save_round_trips(cursor, [round_trip_row(key, trip, terms.rates) for trip in closed])
    _replace_checkpoints(cursor, key, dict(zip(days, cuts, strict=True)), found, terms)
    last = found.steps[-1].fill if found.steps else None
    last_time = last.time if last else None
    return position_row(key, found.account, last_time, terms_of(last, checkpoint)), found.steps


def _replayed(
    cursor: Cursor,
    key: PositionKey,
    since: datetime,
    mine: Sequence[FillRow],
    terms: DayTerms,
    cuts: Sequence[datetime],
    working: WorkingFills | None = None,
) -> tuple[CheckpointRow | None, Replay[FillRow]]:
    """The last checkpoint before `since`, and the replay of the fills after it.

    `mine` are the fills of the batch; `working` has the changes of the others.
    """
    before = since - timedelta(microseconds=1) if since in cuts else since
    checkpoint = last_checkpoint(cursor, *key, day_of(before, terms.zone))
    begin = start_of(checkpoint.day, terms.zone) if checkpoint else None
    fills = (working or WorkingFills()).over(fills_of(cursor, key, begin), mine)
    counted = [row for row in fills if not row.voided]
    return checkpoint, replay(account_of(checkpoint) if checkpoint else Account(), counted, cuts)


def _replace_checkpoints(cursor: Cursor, key: PositionKey, cuts: dict[date, datetime], found: Replay[FillRow], terms: DayTerms) -> None:
    """Store the checkpoints of these days (day -> its start) again."""
    if not cuts:
        return
    known = {row.day: row for row in checkpoints_of(cursor, *key, since=min(cuts))}
    quotes = quotes_at(cursor, [(key[2], cut) for cut in cuts.values() if found.at[cut].position.quantity], MARK_AGE)
    rows = []
    for day, cut in cuts.items():
        account, old = found.at[cut], known.get(day)
        if not account.seq and old is None:
            continue
        price = _mark(account.position.quantity, quotes.get((key[2], cut)), terms)
        if price is None and old is not None and account.position.quantity:
            price = old.mark
        fill = found.steps[0].fill if found.steps else None
        rows.append(checkpoint_row(day, key, account, price, terms_of(fill, old)))
    save_checkpoints(cursor, rows)


def _mark(quantity: Decimal, quote: PastQuote | None, terms: DayTerms) -> Decimal | None:
    if quote is None:
        return None
    return mark(quantity, quote.bid, quote.ask, cast(Literal["touch", "mid"], terms.mark))
