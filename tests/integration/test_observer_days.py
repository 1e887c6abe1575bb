"""The change of a day: checkpoints, daily P&L and the counts of a day. Arithmetic by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from config.settings import Settings
from db.bus import Bus
from db.postgres import Store
from db.reports.model import Fill, Order, Signal
from tests.conftest import until
from tests.support.folding import FoldingObserver
from tests.support.store import select

# Noon in New York: its 19 November begins at 05:00 UTC.
ZONE = "America/New_York"
FIRST = datetime(2025, 11, 18, 17, tzinfo=UTC)
MIDNIGHT = datetime(2025, 11, 19, 5, tzinfo=UTC)


@pytest.fixture
def observer(settings: Settings, bus: Bus, store: Store) -> FoldingObserver:
    return FoldingObserver(settings, bus, store, FIRST, ZONE)


def test_day_begins_with_checkpoints_and_new_counts(observer: FoldingObserver, store: Store) -> None:
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
    again = FoldingObserver(observer.context.settings, observer.bus, store, observer.now, ZONE)
    with again.running():
        again.price("1.13")
        until(lambda: again.daily() == 40, 20, "the same figures after a restart")
