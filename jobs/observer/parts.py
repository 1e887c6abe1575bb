"""The table of the collectors and of the watchers that the observer runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from jobs.observer.alerts.watcher import AlertWatcher
from jobs.observer.collectors.base import Collector, ObserverContext
from jobs.observer.collectors.execution import ExecutionCollector
from jobs.observer.collectors.market_data import MarketDataCollector
from jobs.observer.collectors.strategy import StrategyCollector
from jobs.observer.collectors.system import SystemCollector
from jobs.observer.connections import SystemEventWatcher


class Watcher(Protocol):
    """A part that judges the figures once per second: the alert rules."""

    def each_second(self, now: datetime) -> None:
        """Judge the figures at `now`. The observer counts and logs an exception, and continues."""


# In the order of their sections in a snapshot.
COLLECTORS: tuple[Callable[[ObserverContext], Collector], ...] = (
    MarketDataCollector,
    StrategyCollector,
    ExecutionCollector,
    SystemCollector,
)

# Called with the collectors: section -> collector.
WATCHERS: tuple[Callable[[ObserverContext, Mapping[str, Collector]], Watcher], ...] = (SystemEventWatcher, AlertWatcher)
