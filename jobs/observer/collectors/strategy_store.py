"""The stored parts of the figures of strategies: rows of a day, drawdowns that go on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from db.metrics.drawdowns import ALL_BOTS, DrawdownRow, all_drawdowns
from db.metrics.strategy import StrategyRow
from db.postgres import Cursor
from db.reports.checkpoints import CheckpointRow, checkpoints_of_day
from db.reports.heartbeats import last_equities, last_equity, strategies_with_equity
from db.reports.signals import signal_counts
from jobs.observer.collectors.statistics import Statistics
from jobs.observer.collectors.valuation import StrategyState, Valued, added
from jobs.observer.figures.ratios import TripSums
from jobs.observer.figures.sections import rounded
from jobs.observer.fold.days import start_of

Key = tuple[str, str]  # bot, strategy
MAX_STRATEGIES = 20_000  # of bots, whose figures are kept in memory
EQUITY_DAYS = 730  # of which the returns are read


@dataclass(frozen=True, slots=True)
class Day:
    """Rows of the store that belong to a day. `signals` is None if they are known already.

    `checkpoints` are those of `strategies`, or of all (None). `equities` are the last ones of the
    days before, `last_equities` the last ones so far.
    """

    day: date
    checkpoints: Sequence[CheckpointRow]
    strategies: Collection[Key] | None = None
    signals: Mapping[tuple[str, str, str], int] | None = None
    equities: Mapping[Key, Mapping[datetime, Decimal]] = field(default_factory=dict)
    last_equities: Mapping[Key, tuple[datetime, Decimal]] = field(default_factory=dict)


def read_day(cursor: Cursor, today: date, zone: ZoneInfo) -> Day:
    """The rows of a day that begins: checkpoints, the counts since 00:00, equities."""
    days = [start_of(today - timedelta(days=back), zone) for back in range(EQUITY_DAYS, -1, -1)]
    keys = strategies_with_equity(cursor, days[-2])
    equities = {key: last_equities(cursor, *key, days) for key in keys}
    last = {key: found for key in keys if (found := last_equity(cursor, *key))}
    return Day(today, checkpoints_of_day(cursor, today), None, signal_counts(cursor, days[-1]), equities, last)


def read_checkpoints(cursor: Cursor, today: date, strategies: Collection[Key] | None) -> Day:
    """The checkpoints of these strategies, or of all (None), on a day that has begun before."""
    return Day(today, checkpoints_of_day(cursor, today, strategies), strategies)


class Declines:
    """Drawdowns of each strategy of each bot, and of each strategy over its bots (`ALL_BOTS`).

    They continue the stored ones.
    """

    def __init__(self) -> None:
        self._stored: dict[Key, DrawdownRow] = {}
        self._statistics: dict[Key, Statistics] = {}

    def load(self, cursor: Cursor) -> None:
        """Read the stored drawdowns."""
        self._stored = {(row.bot, row.strategy): row for row in all_drawdowns(cursor)}
        self._statistics = {}

    def of(self, key: Key) -> Statistics:
        """The statistics of a strategy of a bot, or of `ALL_BOTS`."""
        statistics = self._statistics.get(key)
        if statistics is None:
            statistics = self._statistics[key] = Statistics(self._stored.get(key))
        return statistics

    def forget(self, key: Key) -> None:
        """Forget the statistics of a strategy; its stored row stays."""
        self._statistics.pop(key, None)

    def take(self, names: Mapping[str, Sequence[Key]], valued: Mapping[Key, Valued], currency: str) -> None:
        """Take the P&L of one second; `names` is strategy name -> its keys."""
        for name, keys in names.items():
            if not all(key in valued for key in keys):
                continue  # it has just begun
            for key in keys:
                total = valued[key].pnl_total
                self.of(key).value(total.amount if total else None)
            pnl = added((valued[key].pnl_total for key in keys), currency)
            self.of((ALL_BOTS, name)).value(pnl.amount if pnl else None)

    def changed(self, *, every: bool) -> list[DrawdownRow]:
        """The rows that have changed since the last call, or all rows."""
        rows = {key: statistics.row(*key) for key, statistics in self._statistics.items()}
        found = [row for key, row in rows.items() if every or row != self._stored.get(key)]
        self._stored.update(rows)
        return found


@dataclass(slots=True)
class Extremes:
    """The extremes of P&L since the last stored second."""

    low: Decimal | None = None
    high: Decimal | None = None

    def add(self, pnl: Decimal | None) -> None:
        """Take one more P&L; None is left out."""
        if pnl is not None:
            self.low = pnl if self.low is None else min(self.low, pnl)
            self.high = pnl if self.high is None else max(self.high, pnl)


def row_of(second: datetime, key: Key, state: StrategyState, each: Valued, extremes: Extremes) -> StrategyRow:
    """The row of one second of a strategy; its amounts are rounded."""
    trips = sum(state.trips.values(), TripSums())
    return StrategyRow(
        second, *key, rounded(each.pnl), rounded(each.daily.amount) if each.daily else None, rounded(each.realized.amount),
        rounded(each.unrealized.amount) if each.is_marked else None, each.open_positions, sum(state.signals.values()), trips.win_rate,
        rounded(extremes.low), rounded(extremes.high),
    )  # fmt: skip
