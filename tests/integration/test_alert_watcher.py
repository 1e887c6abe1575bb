"""The values of the alert rules, read from the bus, the store and the collectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import pytest

from config.settings import Settings
from db.bus import Bus
from db.partitions import make_months
from db.postgres import Store
from db.reports.orders import OrderRow, save_orders
from db.reports.positions import PositionRow, save_positions
from jobs.observer.alerts.values import Values
from jobs.observer.alerts.watcher import AlertWatcher
from jobs.observer.collectors.base import Collector, ObserverContext
from jobs.observer.collectors.execution import ExecutionCollector
from jobs.observer.collectors.strategy import StrategyCollector
from tests.support.store import select

NOW = datetime(2025, 11, 18, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
BODY = {
    "cpu_percent": 12.5, "memory_percent": 40.0, "disk_usage_percent": 96.1, "writer_unstored": {"prices": 3, "trades": 4, "reports": 5},
    "sources": {"binance": {"state": "down", "age_seconds": 3}, "oanda": {"state": "live"}},
}  # fmt: skip


@dataclass
class System:
    body: Mapping[str, Any] = field(default_factory=dict)

    def last_metrics(self) -> Mapping[str, Any]:
        return self.body


class Strategies:
    def exposed_strategies(self) -> Mapping[tuple[str, str], datetime | None]:
        return {("mm-1", "mean"): NOW - 75 * SECOND}

    def last_report(self, key: tuple[str, str]) -> datetime | None:
        return NOW - 2 * SECOND if key == ("mm-1", "trend") else None


class Executions:
    def strategies_with_orders(self) -> set[tuple[str, str]]:
        return {("mm-1", "mean"), ("mm-1", "trend"), ("mm-2", "mean")}


def make(context: ObserverContext, **collectors: object) -> AlertWatcher:
    return AlertWatcher(context, cast(Mapping[str, Collector], collectors))


@pytest.fixture
def context(settings: Settings, bus: Bus, store: Store) -> ObserverContext:
    return ObserverContext(settings, bus, store, lambda: NOW)


def order(number: int, status: str, age: timedelta) -> OrderRow:
    time = NOW - age
    return OrderRow(
        "mm-1", f"o-{number}", "mean", "EUR_USD", "buy", Decimal(1), "limit", None, None, status, None, Decimal(0), None, time, None, None,
        time, None, None, None, False, number, time,
    )  # fmt: skip


def test_values_come_from_bus_store_and_collectors(context: ObserverContext) -> None:
    now_ms = int(NOW.timestamp() * 1000)
    for name, age in (("hub:5001@a1", 7_500), ("jobs@a1", 0)):
        context.bus.put_process(name, now_ms - age, b"{}")
    statuses = ["rejected"] * 3 + ["filled", "cancelled", "expired", "new"]
    rows = [order(number, status, SECOND) for number, status in enumerate(statuses)]
    with context.store.transaction() as cursor:
        save_orders(cursor, [*rows, order(99, "rejected", timedelta(minutes=16))])
    watcher = make(context, system=System(BODY), strategy=Strategies(), execution=Executions())
    assert watcher.values(NOW) == Values(
        cpu=12.5, memory=40.0, disk=96.1, redis_answers=True, processes={"hub:5001@a1": 7.5, "jobs@a1": 0.0}, unstored=7, unprocessed=5,
        sources={"binance": "down", "oanda": "live"}, orders=(3, 6),
        silent={("mm-1", "mean"): 75.0, ("mm-1", "trend"): 2.0, ("mm-2", "mean"): 86400.0},
    )  # fmt: skip


def test_strategies_with_a_position_or_an_order_are_judged_by_their_last_report(context: ObserverContext) -> None:
    with context.store.transaction() as cursor:
        make_months(cursor, "fills", ["2025-11"])
        save_orders(
            cursor, [order(1, "new", 400 * SECOND), replace(order(2, "filled", SECOND), strategy="flat"),
                     replace(order(3, "filled", 70 * SECOND), strategy="holds")],
        )  # fmt: skip
        save_positions(cursor, [PositionRow("mm-1", name, "EUR_USD", Decimal(size), Decimal(1), Decimal(0), {}, 1)
                                for name, size in (("holds", 5), ("flat", 0))])  # fmt: skip
    strategies, executions = StrategyCollector(context), ExecutionCollector(context)
    for collector in (strategies, executions):
        collector.start()
    watcher = make(context, strategy=strategies, execution=executions)
    assert watcher.values(NOW).silent == {("mm-1", "mean"): 400.0, ("mm-1", "holds"): 70.0}
    for number in range(12):
        watcher.each_second(NOW + number * SECOND)
    assert select(context.store, "SELECT subject, type, severity FROM alerts ORDER BY subject") == [
        ("strategy:mm-1/holds", "strategy", "warning"), ("strategy:mm-1/mean", "strategy", "critical"),
    ]  # fmt: skip


@pytest.mark.parametrize("body", [{}, {**BODY, "stale": True}, {"writer_unstored": None}])
def test_failed_collectors_give_no_value(context: ObserverContext, body: dict[str, Any]) -> None:
    expected = Values(redis_answers=True, processes={}, orders=(0, 0))
    assert make(context, system=System(body)).values(NOW) == expected
    assert make(context).values(NOW) == expected


def test_sources_are_unknown_without_redis(context: ObserverContext, clock: Callable[[], datetime]) -> None:
    with closing(Bus("redis://127.0.0.1:1/0", clock, timeout=0.2)) as away:
        values = make(replace(context, bus=away), system=System(BODY)).values(NOW)
    assert (values.redis_answers, values.processes, values.sources, values.cpu) == (False, None, None, 12.5)


def test_alert_of_a_watcher_is_stored(context: ObserverContext) -> None:
    watcher = make(context, system=System(BODY))
    for number in range(12):
        watcher.each_second(NOW + number * SECOND)
    assert select(context.store, "SELECT key, severity, value FROM alerts ORDER BY key") == [
        ("system:disk", "critical", 96.1), ("system:source:binance", "critical", None),
    ]  # fmt: skip
