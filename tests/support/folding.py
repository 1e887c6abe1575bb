"""The loop of reports with the collectors of strategies and executions, and a clock of the test."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from config.settings import Settings
from db.bus import Bus, ReportLimits
from db.figures.conversion import Rates
from db.postgres import Store
from db.reports.model import Report
from jobs.observer.collectors.base import ObserverContext
from jobs.observer.collectors.execution import ExecutionCollector
from jobs.observer.collectors.live_prices import Quote
from jobs.observer.collectors.strategy import StrategyCollector
from jobs.observer.reports import ReportFolder
from tests.conftest import until


class FoldingObserver:
    """The loop of reports with two collectors, and a clock that the test sets."""

    limits = ReportLimits(rate=100_000)

    def __init__(self, settings: Settings, bus: Bus, store: Store, now: datetime, zone: str = "UTC") -> None:
        self.now = now
        own = replace(settings, obs_day_zone=ZoneInfo(zone))
        # Each figure is computed anew at each call.
        seconds = itertools.count(0, 10)
        self.context = ObserverContext(own, bus, store, lambda: self.now, lambda: float(next(seconds)))
        self.bus = bus
        self.strategy, self.execution = StrategyCollector(self.context), ExecutionCollector(self.context)
        self.folder = ReportFolder(self.context, [self.strategy, self.execution], lambda: Rates({}))

    @contextmanager
    def running(self) -> Iterator[None]:
        stop = threading.Event()
        self.strategy.start()
        self.execution.start()
        thread = threading.Thread(target=self.folder.run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(60)
            assert not thread.is_alive()

    def price(self, bid: str) -> None:
        quote = Quote(Decimal(bid), Decimal(bid) + 1, Decimal(bid), self.now)
        self.context.prices.put("EUR_USD", quote)

    def send(self, *reports: Report) -> None:
        self.bus.append_reports([reports], self.limits)
        until(lambda: self.bus.unprocessed_reports() == 0, 20, "the fold")

    def daily(self) -> Decimal | None:
        body = self.strategy.collect(self.now)
        found: Decimal | None = body["daily_pnl"]
        return found

    def closed_trips(self) -> int:
        """The number of closed round trips that the collector knows."""
        sums = [each for state in self.strategy._states.values() for each in state.trips.values()]
        return sum(each.wins + each.losses + each.draws for each in sums)
