"""Statistics of a strategy name over all its bots: ratios, drawdown, fees. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from db.figures.conversion import Rates, total
from db.figures.positions import ZERO
from db.metrics.drawdowns import DrawdownRow
from jobs.observer.collectors.valuation import StrategyState, Valued, added, summed
from jobs.observer.figures.drawdown import Drawdown, RelativeDrawdown
from jobs.observer.figures.models import StrategyMetric
from jobs.observer.figures.ratios import TripSums, daily_returns, sharpe_ratio

SILENT_AFTER = timedelta(seconds=60)


class Statistics:
    """Drawdowns of one strategy, from the P&L of each second and from reported equity.

    They continue those of `stored`.
    """

    def __init__(self, stored: DrawdownRow | None = None) -> None:
        self.drawdown = Drawdown(stored.peak, stored.deepest) if stored else Drawdown()
        self.relative = RelativeDrawdown(stored.equity_peak, stored.deepest_ratio) if stored else RelativeDrawdown()
        self._sharpe: tuple[object, float | None] = (None, None)  # the equities that it is of, ratio

    def row(self, bot: str, strategy: str) -> DrawdownRow:
        """The drawdowns as a row of the store."""
        return DrawdownRow(bot, strategy, *self.drawdown, *self.relative)

    def value(self, pnl: Decimal | None) -> None:
        """Take one more P&L; None is left out."""
        if pnl is not None:
            self.drawdown = self.drawdown.after(pnl)

    def equity(self, equity: Decimal) -> None:
        """Take one more reported equity."""
        self.relative = self.relative.after(equity)

    def sharpe(self, states: Collection[StrategyState], periods_per_year: int) -> float | None:
        """The ratio of the summed equity of all bots; computed again if an equity has changed."""
        known = [(state.today, len(state.equities), state.equity) for state in states]
        if self._sharpe[0] != known:
            self._sharpe = known, _sharpe(states, periods_per_year)
        return self._sharpe[1]


def metric_of(
    name: str,
    states: Mapping[tuple[str, str], StrategyState],
    valued: Sequence[Valued],
    statistics: Statistics,
    rates: Rates,
    currency: str,
    now: datetime,
    periods_per_year: int,
) -> StrategyMetric:
    """The figures of a strategy name; `states` has one entry for each (bot, strategy)."""
    fees = summed(each.fees for each in valued)
    trips = _trips(states.values(), currency, rates)
    counts = _counts(states.values())
    last = max((state.last_report for state in states.values() if state.last_report), default=None)
    ratio = statistics.relative.ratio
    metric = StrategyMetric(
        strategy_name=name,
        signals=sum(count for state in states.values() for count in state.signals.values()),
        win_rate=counts.win_rate,
        profit_factor=trips.profit_factor if trips else None,
        no_losses=counts.no_losses,
        sharpe_ratio=statistics.sharpe(states.values(), periods_per_year),
        max_drawdown=statistics.drawdown.deepest,
        max_drawdown_ratio=None if ratio is None else float(ratio),
        signals_approved=sum(state.signals.get("approved", 0) for state in states.values()),
        signals_rejected=sum(state.signals.get("rejected", 0) for state in states.values()),
        fees=total(fees.items(), currency, rates).amount,
        fees_by_currency=fees,
        currency=currency,
        bots=sorted(bot for bot, _ in states),
        last_report=last,
        state="live" if last is not None and now - last <= SILENT_AFTER else "silent",
    )
    return with_values(metric, valued, currency)


def with_values(metric: StrategyMetric, valued: Sequence[Valued], currency: str) -> StrategyMetric:
    """The figures with other values of the positions; the statistics stay."""
    marked = all(each.is_marked for each in valued)
    realized = added((each.realized for each in valued), currency)
    unrealized = added((each.unrealized for each in valued), currency) if marked else None
    pnl = added((realized, unrealized), currency)
    daily = added((each.daily for each in valued), currency)
    size = added((each.notional for each in valued), currency)
    return replace(
        metric,
        pnl=pnl.amount if pnl else None,
        daily_pnl=daily.amount if daily else None,
        positions=sum(each.open_positions for each in valued),
        realized_pnl=realized.amount if realized else None,
        unrealized_pnl=unrealized.amount if unrealized else None,
        position_notional=size.amount if size else None,
        mark_stale=any(each.stale for each in valued),
        pnl_complete=all(each.complete for each in valued),
    )


def _counts(states: Iterable[StrategyState]) -> TripSums:
    """The sums of all trips; its money is not in one currency."""
    return sum((sums for state in states for sums in state.trips.values()), TripSums())


def _trips(states: Iterable[StrategyState], currency: str, rates: Rates) -> TripSums | None:
    """The sums of all trips in one currency; None if a rate is missing."""
    found = TripSums()
    for state in states:
        for name, sums in state.trips.items():
            won, lost = rates.convert(sums.won, name, currency), rates.convert(sums.lost, name, currency)
            if won is None or lost is None:
                return None
            found += TripSums(sums.wins, sums.losses, sums.draws, won, lost)
    return found


def _sharpe(states: Iterable[StrategyState], periods_per_year: int) -> float | None:
    """The ratio of the summed equity of all bots, of the days on which each one has reported it."""
    series = [state.daily_equities() for state in states]
    days = sorted(set.intersection(*map(set, series))) if series else []
    return sharpe_ratio(daily_returns([sum((each[day] for each in series), ZERO) for day in days]), periods_per_year)
