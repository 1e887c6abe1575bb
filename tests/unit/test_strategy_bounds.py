"""Bounds of the section `strategy` and of the alerts of strategies, if bots invent names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import pytest

from config import settings as settings_module
from db.bus import Bus
from db.postgres import Store
from db.reports.model import Heartbeat
from db.reports.orders import OrderRow
from db.reports.positions import PositionRow
from db.reports.report_ids import NumberedReport
from jobs.observer.alerts.watcher import MOST_SILENT, AlertWatcher
from jobs.observer.collectors.base import Collector, ObserverContext
from jobs.observer.collectors.execution import ExecutionCollector
from jobs.observer.collectors.live_prices import Quote
from jobs.observer.collectors.strategy import MAX_NAMES, StrategyCollector
from jobs.observer.collectors.strategy_store import Day
from jobs.observer.fold.batch import Folded

NOW = datetime(2025, 11, 18, 12, tzinfo=UTC)
SETTINGS = settings_module.load({"SOURCES": ""}, dotenv=None)


def context() -> ObserverContext:
    """A context without servers: neither the figures nor the values of silence need them."""
    return ObserverContext(SETTINGS, cast(Bus, None), cast(Store, None), lambda: NOW)


def test_section_has_at_most_500_strategies_and_the_totals_of_all() -> None:
    collector = StrategyCollector(context())
    collector.context.prices.put("EUR_USD", Quote(Decimal(3), Decimal(4), Decimal(3), NOW))
    count = MAX_NAMES + 100
    for number in range(count):
        state = collector._state(("bot", f"s-{number}"))
        state.last_report = NOW - timedelta(seconds=number)
        state.signals = {"generated": 2}
        state.put(PositionRow("bot", f"s-{number}", "EUR_USD", Decimal(0), Decimal(0), Decimal(5), {}, 1))
    oldest = f"s-{count - 1}"
    collector._state(("bot", oldest)).put(PositionRow("bot", oldest, "EUR_USD", Decimal(1), Decimal(1), Decimal(5), {}, 1))
    body = collector.collect(NOW)
    shown = set(body["strategies"])
    assert len(shown) == MAX_NAMES
    assert body["strategies_left_out"] == 100
    # The oldest one has an open position; of the others, those with the latest reports are shown.
    assert {"s-0", f"s-{MAX_NAMES - 2}", oldest} <= shown
    assert f"s-{MAX_NAMES - 1}" not in shown
    assert (body["open_positions"], body["signals_generated"], body["total_pnl"]) == (1, 2 * count, 5 * count + 2)


def test_names_without_a_fill_are_forgotten_after_a_day() -> None:
    collector = StrategyCollector(context())
    flat = PositionRow("bot", "traded", "EUR_USD", Decimal(0), Decimal(0), Decimal(5), {}, 1)
    for name, age in (("traded", 30), ("old", 30), ("new", 1)):
        collector._state(("bot", name)).last_report = NOW - timedelta(hours=age)
    collector._state(("bot", "traded")).put(flat)
    assert set(collector.collect(NOW)["strategies"]) == {"traded", "old", "new"}
    collector._take_day(Day(NOW.date(), (), signals={}))
    assert set(collector.collect(NOW)["strategies"]) == {"traded", "new"}
    assert replace(flat) == collector._states["bot", "traded"].positions["EUR_USD"]


def test_strategies_beyond_the_limit_are_counted_without_a_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.observer.collectors.strategy.MAX_STRATEGIES", 2)
    monkeypatch.setattr("jobs.observer.collectors.execution.MAX_STRATEGIES", 2)
    strategy, execution = StrategyCollector(context()), ExecutionCollector(context())
    strategy._day = execution._day = NOW.date()
    rows = [order(number) for number in range(5)]
    beats = [Heartbeat(bot="bot", strategy=f"s-{number}", id="h", time=NOW, equity=Decimal(9)) for number in range(5)]
    new = [NumberedReport(number, NOW, beat) for number, beat in enumerate(beats)]
    for _ in range(2):
        for collector in (strategy, execution):
            collector.folded(Folded(new, (), (), (), (), [(None, row) for row in rows], (), (), 0, NOW.date(), 0))
    body = strategy.collect(NOW)
    assert (set(body["strategies"]), body["incomplete"]) == ({"s-0", "s-1"}, True)
    assert (execution.collect(NOW)["orders_today"], len(execution._sums)) == (10, 3)
    assert execution.strategies_with_orders() == {("bot", "s-0"), ("bot", "s-1")}


def order(number: int) -> OrderRow:
    return OrderRow(
        "bot", f"o-{number}", f"s-{number}", "EUR_USD", "buy", Decimal(1), "limit", None, None, "new", None, Decimal(0), None, NOW, None,
        None, None, None, None, None, False, number, NOW,
    )  # fmt: skip


class Strategies:
    """A thousand silent strategies, the first one for the longest time."""

    def exposed_strategies(self) -> Mapping[tuple[str, str], datetime | None]:
        return {("bot", f"s-{number}"): NOW - timedelta(seconds=2000 - number) for number in range(1000)}

    def last_report(self, key: tuple[str, str]) -> datetime | None:
        return None


class Executions:
    def strategies_with_orders(self) -> set[tuple[str, str]]:
        return set()


def test_silence_is_judged_for_the_strategies_with_the_oldest_reports() -> None:
    watcher = object.__new__(AlertWatcher)  # without its connections
    watcher._collectors = cast(Mapping[str, Collector], {"strategy": Strategies(), "execution": Executions()})
    silent = cast(dict[tuple[str, str], Any], watcher._silent(NOW))
    assert len(silent) == MOST_SILENT
    assert (max(silent.values()), min(silent.values())) == (2000, 2001 - MOST_SILENT)
