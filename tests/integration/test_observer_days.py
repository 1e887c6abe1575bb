"""The change of a day: checkpoints, daily P&L and the counts of a day. Arithmetic by hand."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from config.settings import Settings
from db.bus import Bus, ReportLimits
from db.postgres import Store
from db.reports.model import Fill, Order, Report, Signal
from jobs.observer.collectors.base import ObserverContext
from jobs.observer.collectors.execution import ExecutionCollector
from jobs.observer.collectors.live_prices import Quote
from jobs.observer.collectors.strategy import StrategyCollector
from jobs.observer.figures.conversion import Rates
from jobs.observer.reports import ReportFolder
from tests.conftest import until
from tests.support.store import select

# Noon in New York: its 19 November begins at 05:00 UTC.
ZONE = ZoneInfo("America/New_York")
FIRST = datetime(2025, 11, 18, 17, tzinfo=UTC)
MIDNIGHT = datetime(2025, 11, 19, 5, tzinfo=UTC)


class Observer:
    """The loop of reports with two collectors, and a clock that the test sets."""

    def __init__(self, settings: Settings, bus: Bus, store: Store) -> None:
        self.now = FIRST
        own = replace(settings, obs_day_zone=ZONE)
        self.context = ObserverContext(own, bus, store, lambda: self.now)
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
            thread.join(20)
            assert not thread.is_alive()

    def price(self, bid: str) -> None:
        quote = Quote(Decimal(bid), Decimal(bid) + 1, Decimal(bid), self.now)
        self.context.prices.put("EUR_USD", quote)

    def send(self, *reports: Report) -> None:
        self.bus.append_reports([reports], ReportLimits())
        until(lambda: self.bus.unprocessed_reports() == 0, 20, "the fold")

    def daily(self) -> Decimal | None:
        body = self.strategy.collect(self.now)
        found: Decimal | None = body["daily_pnl"]
        return found


@pytest.fixture
def observer(settings: Settings, bus: Bus, store: Store) -> Observer:
    return Observer(settings, bus, store)


def test_day_begins_with_checkpoints_and_new_counts(observer: Observer, store: Store) -> None:
    fill = Fill(
        bot="b", strategy="s", id="f-1", time=FIRST, order_id="o-1", symbol="EUR_USD", side="buy", quantity=Decimal(1000),
        price=Decimal("1.10"), fee=Decimal(1),
    )  # fmt: skip
    signal = Signal(bot="b", strategy="s", id="s-1", time=FIRST, symbol="EUR_USD", signal="buy", outcome="generated")
    order = Order(
        bot="b", strategy="s", id="e-1", time=FIRST, order_id="o-1", symbol="EUR_USD", side="buy", quantity=Decimal(1000),
        order_type="limit", status="filled",
    )  # fmt: skip
    with observer.running():
        observer.send(fill, signal, order)
        observer.price("1.12")
        # Began today: the whole, -1 + (1.12 - 1.10)·1000.
        until(lambda: observer.daily() == 19, 20, "the P&L of the first day")
        counts = observer.execution.collect(observer.now)
        assert (counts["orders_today"], counts["fills_today"], counts["fill_rate"]) == (1, 1, 1.0)
        with store.transaction() as cursor:
            cursor.execute("SELECT make_month('prices', '2025-11')")
            cursor.execute(
                "INSERT INTO prices (instrument, time, received, bid, ask, mid, source, epoch, seq, occurrence)"
                " VALUES ('EUR_USD', %s, %s, 1.11, 1.12, 1.115, 'oanda', 'e', 1, 1)",
                (MIDNIGHT - timedelta(seconds=2), MIDNIGHT),
            )
        observer.now = MIDNIGHT + timedelta(seconds=6)
        observer.price("1.13")
        # At 00:00 the total was -1 + 10, now it is -1 + 30.
        until(lambda: observer.daily() == 20, 20, "the P&L of the second day")
        assert select(store, "SELECT day::text, mark, opening_fill FROM position_checkpoints") == [("2025-11-19", "1.11", "f-1")]
        assert observer.strategy.collect(observer.now)["total_pnl"] == 29
        until(lambda: observer.strategy.collect(observer.now)["signals_generated"] == 0, 20, "the counts of the second day")
        counts = observer.execution.collect(observer.now)
        assert (counts["orders_today"], counts["fills_today"], counts["fill_rate"]) == (0, 0, None)
        # A late fill of the first day: 1000 more at 1.10, fee 1. At 00:00 the total was -2 + 20.
        observer.send(replace(fill, id="f-2", time=FIRST + timedelta(hours=1)))
        until(lambda: observer.daily() == 40, 20, "the P&L with the late fill")
        assert select(store, "SELECT quantity, gross FROM position_checkpoints") == [("2000", "0")]
    again = Observer(replace(observer.context.settings), observer.bus, store)
    again.now = observer.now
    with again.running():
        again.price("1.13")
        until(lambda: again.daily() == 40, 20, "the same figures after a restart")
