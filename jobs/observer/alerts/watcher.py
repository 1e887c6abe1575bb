"""The part of the observer that reads the values of the alert rules and ticks the alerts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from heapq import nlargest
from operator import itemgetter
from typing import Any, Protocol, runtime_checkable

from db.bus import BusError
from db.reports.orders import count_terminal
from health.probe import HealthProbe, ask_all
from jobs.observer.alerts.ticker import AlertTicker, limits_of_settings
from jobs.observer.alerts.values import Values
from jobs.observer.collectors.base import Collector, ObserverContext

REJECTS_WITHIN = timedelta(minutes=15)
# Strategies that are judged, those with the oldest reports first. All ages grow alike, so that a
# strategy with an alert is judged until it reports again.
MOST_SILENT = 200
_BUS_SECONDS = 1.5  # of the read of the registry
_COUNT_SECONDS = 1.0  # of the count of orders
_RECOUNT_SHARE = 21
_LONG_AGO = timedelta(days=1)  # the age of the last report of a strategy, if there is none

Key = tuple[str, str]  # bot, strategy


@runtime_checkable
class Strategies(Protocol):
    """A collector with the state of each strategy of each bot."""

    def exposed_strategies(self) -> Mapping[Key, datetime | None]:
        """Strategies with an open position -> time of their last report. Any thread may call it."""

    def last_report(self, key: Key) -> datetime | None:
        """The time of the last report of a strategy, None if there is none."""


@runtime_checkable
class Executions(Protocol):
    """A collector with the open orders of each strategy of each bot."""

    def strategies_with_orders(self) -> set[Key]:
        """Strategies with an open order. Any thread may call it."""


class AlertWatcher:
    """Reads all values and ticks the alerts. The observer calls it once per second."""

    def __init__(self, context: ObserverContext, collectors: Mapping[str, Collector]) -> None:
        self._context = context
        self._collectors = collectors
        self._bus = context.bus.with_timeout(_BUS_SECONDS)
        self._ticker = AlertTicker(context.store, self._bus, limits_of_settings(context.settings))
        self._orders = OrderCounts(context)

    def each_second(self, now: datetime) -> None:
        """Judge the values at `now`."""
        self._ticker.tick(self.values(now), now)

    def firing(self) -> Mapping[tuple[str, str], int]:
        """(type, severity) -> number of firing alerts. Any thread may call it."""
        return self._ticker.firing_by_type()

    def values(self, now: datetime) -> Values:
        """The values at `now`; None for those that could not be read."""
        processes = self._processes(now)
        system = self._section("system")
        unstored = system.get("writer_unstored") or {}
        return Values(
            cpu=system.get("cpu_percent"),
            memory=system.get("memory_percent"),
            disk=system.get("disk_usage_percent"),
            redis_answers=processes is not None,
            processes=processes,
            unstored=_sum(unstored.get("prices"), unstored.get("trades")),
            unprocessed=unstored.get("reports"),
            # Without the registry of the processes, the states of the sources are not known.
            sources=None if processes is None or "sources" not in system else _states(system["sources"]),
            silent=self._silent(now),
            orders=self._orders.read(now),
        )

    def _section(self, name: str) -> Mapping[str, Any]:
        """The last body of a section; empty if its collector failed or is missing."""
        collector = self._collectors.get(name)
        body = {} if collector is None else collector.last_metrics()
        return {} if body.get("stale") else body

    def _processes(self, now: datetime) -> dict[str, float] | None:
        """Expected process -> seconds since its last heartbeat."""
        now_ms = int(now.timestamp() * 1000)
        try:
            return {each.name: (now_ms - each.beat_ms) / 1000 for each in self._bus.processes(now_ms)}
        except BusError:
            return None

    def _silent(self, now: datetime) -> dict[Key, float] | None:
        strategies, executions = self._collectors.get("strategy"), self._collectors.get("execution")
        if not isinstance(strategies, Strategies) or not isinstance(executions, Executions):
            return None
        last = dict(strategies.exposed_strategies())
        for key in executions.strategies_with_orders() - last.keys():
            last[key] = strategies.last_report(key)
        ages = {key: (_LONG_AGO if at is None else now - at).total_seconds() for key, at in last.items()}
        return dict(nlargest(MOST_SILENT, ages.items(), key=itemgetter(1)))


class OrderCounts:
    """Counts the rejected and the terminal orders, in a thread: a hung PostgreSQL costs a second.

    The next count begins after 20 times the duration of the last one.
    """

    def __init__(self, context: ObserverContext) -> None:
        self._monotonic = context.monotonic
        self._store = context.store
        self._due = float("-inf")  # monotonic time
        self._since = datetime.min.replace(tzinfo=UTC)
        self._counted = (0, 0)
        self._found: tuple[int, int] | None = None
        self._probe = HealthProbe("orders", self._count)

    def read(self, now: datetime) -> tuple[int, int] | None:
        """The counts of the last 15 minutes, from memory if none is due; None if they failed."""
        if self._monotonic() < self._due:
            return self._found
        self._since = now - REJECTS_WITHIN
        (failure,) = ask_all(self._probe, patience=_COUNT_SECONDS)
        self._found = None if failure is not None else self._counted
        return self._found

    def _count(self) -> None:
        began = self._monotonic()
        with self._store.transaction() as cursor:
            self._counted = count_terminal(cursor, self._since)
        self._due = began + _RECOUNT_SHARE * (self._monotonic() - began)


def _sum(*counts: int | None) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _states(sources: Mapping[str, Any]) -> dict[str, str]:
    """Source -> state; a source without a readable state is left out."""
    found = {name: each.get("state") if isinstance(each, Mapping) else each for name, each in sources.items()}
    return {name: state for name, state in found.items() if isinstance(state, str)}
