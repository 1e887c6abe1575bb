"""Strategies: positions at live marks at each tick, statistics once per second."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from heapq import nlargest
from operator import is_
from typing import Literal, cast

from config.pacing import StopSignal, Throttle
from db.bus.observability.snapshots import STRATEGIES_OF_BOTS
from db.figures.conversion import Rates, Total
from db.figures.positions import ZERO
from db.metrics.drawdowns import ALL_BOTS, save_drawdowns
from db.metrics.strategy import insert_strategy
from db.postgres import Cursor
from db.reports.checkpoints import CheckpointRow
from db.reports.heartbeats import last_received
from db.reports.model import Heartbeat, Signal
from db.reports.positions import all_positions
from db.reports.report_ids import NumberedReport
from db.reports.round_trips import TripTotals, trip_totals
from jobs.observer.collectors.base import BaseCollector, ObserverContext, allow_long_reads
from jobs.observer.collectors.statistics import SILENT_AFTER, metric_of, with_values
from jobs.observer.collectors.strategy_store import MAX_STRATEGIES, Day, Declines, Extremes, Key, read_checkpoints, read_day, row_of
from jobs.observer.collectors.trips import TripReader
from jobs.observer.collectors.valuation import StrategyState, Valued, added, value
from jobs.observer.figures.models import StrategyMetric
from jobs.observer.figures.ratios import TripSums
from jobs.observer.figures.sections import Body, Entries, render, strategies_of_bots, strategy_section
from jobs.observer.fold.batch import Folded
from jobs.observer.fold.days import start_of

log = logging.getLogger(__name__)

REPORTED_DAYS = 1  # in which the last report of a strategy is searched at the start
MAX_NAMES = 500  # strategies of a section
MAX_ROWS = 1_000  # strategies of bots in the text for `/strategies`


@dataclass(frozen=True, slots=True)
class _Known:
    """Figures of a strategy name, and their values. Rates are new each second."""

    rates: Rates
    valued: Sequence[Valued]
    metric: StrategyMetric


class StrategyCollector(BaseCollector):
    """The section `strategy`. Figures are kept per (bot, strategy) and summed per strategy name."""

    name = "strategy"

    def __init__(self, context: ObserverContext) -> None:
        super().__init__(context)
        self._zone = context.settings.obs_day_zone
        self._currency = context.settings.obs_base_currency
        self._method = cast(Literal["touch", "mid"], context.settings.obs_mark)
        self._lock = threading.Lock()  # of everything below
        self._states: dict[Key, StrategyState] = {}
        self._valued: dict[Key, Valued] = {}  # of the last tick
        self._extremes: dict[Key, Extremes] = {}
        self._names: dict[str, list[Key]] = {}  # strategy name -> its keys
        self._declines = Declines()
        self._metrics: dict[str, _Known] = {}  # strategy name -> its last figures
        self._entries = Entries()
        self._shown: tuple[Rates, Sequence[str]] = (Rates({}), ())  # rates of that second, names
        self._full = False  # there are more than `MAX_STRATEGIES`
        self._throttle = Throttle(monotonic=time.monotonic)
        self._further: dict[str, str] = {}
        self._day: date | None = None  # of the checkpoints and of the counts
        self._trips = TripReader(context.store, self._replace_trips)
        self._rates, self._rates_due = Rates({}), 0.0

    def loops(self) -> Mapping[str, Callable[[StopSignal], None]]:
        """The reader of round trips."""
        return {"observer-trips": self._trips.run}

    def start(self) -> None:
        """Read positions and round trips. The first batch of the loop of reports brings the day."""
        super().start()
        with self._lock, self.context.store.transaction() as cursor:
            allow_long_reads(cursor)
            for row in all_positions(cursor):
                self._state((row.bot, row.strategy)).put(row)
            self._take_trips(trip_totals(cursor))
            now = self.context.clock()
            for key, moment in last_received(cursor, now - timedelta(days=REPORTED_DAYS), now).items():
                self._state(key).last_report = moment
            self._declines.load(cursor)

    def rates(self) -> Rates:
        """Live rates between currencies, at most a second old."""
        if (now := self.context.monotonic()) >= self._rates_due:
            self._rates = self.context.prices.rates(self.context.clock(), self.context.settings.obs_currency_parity)
            self._rates_due = now + 1.0
        return self._rates

    def folded(self, result: Folded) -> None:
        """Take over a committed batch. May raise `StoreError` without an effect."""
        today = result.day
        begins = self._day != today
        found = None
        if begins or result.recomputed or result.checkpoints:
            with self.context.store.transaction() as cursor:
                allow_long_reads(cursor)
                if begins:
                    found = read_day(cursor, today, self._zone)  # the batch is stored already
                else:
                    changed = None if result.checkpoints else {(row.bot, row.strategy) for row in result.positions}
                    found = read_checkpoints(cursor, today, changed)
        with self._lock:
            if found is not None:
                self._take_day(found)
            for row in result.positions:
                self._state((row.bot, row.strategy)).put(row)
            for each in result.new:
                self._take_report(each, counted=begins)
        self._trips.note({(row.bot, row.strategy) for row in result.positions})

    def _take_report(self, each: NumberedReport, *, counted: bool) -> None:
        report = each.report
        state = self._state((report.bot, report.strategy))
        if (report.bot, report.strategy) not in self._states:
            return
        state.last_report = each.received
        if isinstance(report, Signal) and not counted and self._day and report.time >= start_of(self._day, self._zone):
            state.signals[report.outcome] = state.signals.get(report.outcome, 0) + 1
        elif isinstance(report, Heartbeat) and report.equity is not None and state.take_equity(report.time, report.equity):
            self._declines.of((report.bot, report.strategy)).equity(report.equity)
            known = [equity for key in self._names[report.strategy] if (equity := self._states[key].equity)]
            self._declines.of((ALL_BOTS, report.strategy)).equity(sum((value for _, value in known), ZERO))

    def exposed_strategies(self) -> dict[Key, datetime | None]:
        """Strategies with an open position -> time of their last report. Any thread may call it."""
        with self._lock:
            return {key: state.last_report for key, state in self._states.items() if any(row.quantity for row in state.positions.values())}

    def last_report(self, key: Key) -> datetime | None:
        """The time of the last report of a strategy, None if there is none."""
        with self._lock:
            state = self._states.get(key)
            return state.last_report if state else None

    def collect(self, now: datetime) -> Body:
        """The section at `now`."""
        rates, prices = self.rates(), self.context.prices
        with self._lock:
            before = self._valued
            self._valued = {key: value(state, prices, rates, now, self._currency, self._method) for key, state in self._states.items()}
            if self._day is None:
                self._valued = {key: replace(each, daily=None) for key, each in self._valued.items()}
            for key, each in self._valued.items():
                if each is not before.get(key) or key not in self._extremes:
                    self._extremes.setdefault(key, Extremes()).add(each.pnl)
            names = self._shown_names(rates)
            metrics = [self._metric(name, self._names[name], rates, now) for name in names]
            totals = added((part for each in self._valued.values() for part in (each.realized, each.unrealized)), self._currency)
            marked = all(each.is_marked for each in self._valued.values())
            daily = added((each.daily for each in self._valued.values()), self._currency)
            left_out = len(self._names) - len(names)
            positions = sum(each.open_positions for each in self._valued.values())
            signals = sum(sum(state.signals.values()) for state in self._states.values()) if left_out else 0
        pnl = totals or Total(None, self._currency, {})
        if not marked:
            pnl = Total(None, pnl.currency, pnl.by_currency)
        body = strategy_section(now, metrics, pnl, daily.amount if daily else None, self._entries)
        if left_out:
            body |= {"open_positions": positions, "signals_generated": signals, "strategies_left_out": left_out}
        return body if marked and not self._full else {**body, "incomplete": True}

    def _shown_names(self, rates: Rates) -> Sequence[str]:
        """The names of the section in order: at most `MAX_NAMES`, chosen once per second.

        Strategies with an open position come first, then those with the latest reports.
        """
        if len(self._names) <= MAX_NAMES:
            return sorted(self._names)
        if self._shown[0] is not rates:
            rank = {name: max(map(self._rank, keys)) for name, keys in self._names.items()}
            self._shown = rates, sorted(nlargest(MAX_NAMES, rank, key=rank.__getitem__))
        return self._shown[1]

    def _rank(self, key: Key) -> tuple[bool, float]:
        """The rank of a strategy among those that are shown if there are too many."""
        last = self._states[key].last_report
        return key in self._valued and self._valued[key].open_positions > 0, last.timestamp() if last else 0.0

    def store_second(self, cursor: Cursor, second: datetime) -> None:
        """Insert a row for each strategy of each bot; one per minute if it is inactive."""
        with self._lock:
            valued, extremes, self._extremes = self._valued, self._extremes, {}
            self._declines.take(self._names, valued, self._currency)
            drawdowns = self._declines.changed(every=second.second == 0)
            shown = [key for key in valued if second.second == 0 or self._is_active(key)]
            rows = [row_of(second, key, self._states[key], valued[key], extremes.get(key) or Extremes()) for key in shown]
            self._further = {STRATEGIES_OF_BOTS: self._text_of_bots(valued)}
        insert_strategy(cursor, rows)
        save_drawdowns(cursor, drawdowns)

    def further_texts(self) -> Mapping[str, str]:
        """The figures of each strategy of each bot, which are new each second."""
        return self._further

    def _text_of_bots(self, valued: Mapping[Key, Valued]) -> str:
        now, metrics = self.context.clock(), []
        shown: Iterable[Key] = valued if len(valued) <= MAX_ROWS else nlargest(MAX_ROWS, valued, key=self._rank)
        for key in sorted(shown):
            each = valued[key]
            states, periods = {key: self._states[key]}, self.context.settings.obs_periods_per_year
            metrics.append((key[0], metric_of(key[1], states, [each], self._declines.of(key), self._rates, self._currency, now, periods)))
        return render(strategies_of_bots(metrics)).strings

    def _is_active(self, key: Key) -> bool:
        last = self._states[key].last_report
        return bool(self._valued[key].open_positions) or (last is not None and self.context.clock() - last <= SILENT_AFTER)

    def _metric(self, name: str, keys: Sequence[Key], rates: Rates, now: datetime) -> StrategyMetric:
        """The figures of a strategy name; its statistics are at most a second old."""
        valued = [self._valued[key] for key in keys]
        known = self._metrics.get(name)
        if known is not None and known.rates is rates:
            if len(known.valued) != len(valued) or not all(map(is_, known.valued, valued)):
                known = self._metrics[name] = _Known(rates, valued, with_values(known.metric, valued, self._currency))
            return known.metric
        metric = metric_of(
            name, {key: self._states[key] for key in keys}, valued, self._declines.of((ALL_BOTS, name)), rates, self._currency, now,
            self.context.settings.obs_periods_per_year,
        )  # fmt: skip
        self._metrics[name] = _Known(rates, valued, metric)
        return metric

    def _state(self, key: Key) -> StrategyState:
        """The state of a strategy; a new one that is not kept if there are too many."""
        state = self._states.get(key)
        if state is None:
            state = StrategyState()
            if len(self._states) < MAX_STRATEGIES:
                self._states[key] = state
                self._names.setdefault(key[1], []).append(key)
            else:
                self._full = True
                if self._throttle.due("full") is not None:
                    fields = {"limit": MAX_STRATEGIES, "bot": key[0], "strategy": key[1]}
                    log.warning("too many strategies: the figures of further ones are left out", extra=fields)
        return state

    def _take_day(self, found: Day) -> None:
        checkpoints: dict[Key, list[CheckpointRow]] = {}
        for row in found.checkpoints:
            checkpoints.setdefault((row.bot, row.strategy), []).append(row)
        keys = found.strategies if found.strategies is not None else {*self._states, *checkpoints}
        for key in keys:
            self._state(key).take_checkpoints(checkpoints.get(key, ()))
        if found.signals is not None:
            for state in self._states.values():
                state.signals = {}
            for (bot, strategy, outcome), count in found.signals.items():
                self._state((bot, strategy)).signals[outcome] = count
            self._forget_idle()
        for key, equities in found.equities.items():
            self._state(key).equities = equities
            if (last := found.last_equities.get(key)) is not None:
                self._state(key).take_equity(*last)
        for state in self._states.values():
            state.today = start_of(found.day, self._zone)
        self._day = found.day

    def _forget_idle(self) -> None:
        """Forget strategies without a fill whose last report is old, as a new observer does.

        A bot that invents names therefore takes memory for a day.
        """
        self._full = False
        oldest = self.context.clock() - timedelta(days=REPORTED_DAYS)
        for key, state in list(self._states.items()):
            if state.positions or state.trips or state.signals or (state.last_report is not None and state.last_report >= oldest):
                continue
            del self._states[key]
            self._valued.pop(key, None)
            self._names[key[1]].remove(key)
            if not self._names[key[1]]:
                del self._names[key[1]]
                self._metrics.pop(key[1], None)
                self._declines.forget((ALL_BOTS, key[1]))
            self._declines.forget(key)

    def _replace_trips(self, keys: Collection[Key], found: Iterable[TripTotals]) -> None:
        with self._lock:
            for key in keys:
                self._state(key).trips = {}
            self._take_trips(found)

    def _take_trips(self, found: Iterable[TripTotals]) -> None:
        for row in found:
            sums = TripSums(row.wins, row.losses, row.draws, row.won, row.lost)
            self._state((row.bot, row.strategy)).trips[row.currency] = sums
