"""Reports of a bot in a running system: the worked example of docs/observability/figures.md."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from db.bus import Bus, Snapshot
from db.bus.snapshots import STRATEGIES_OF_BOTS
from db.metrics.market import MarketRow, insert_market
from db.metrics.rollup import is_mine, roll_up_metrics
from db.postgres import Cursor, Store
from db.timestamps import format_time
from jobs.observer.figures.conversion import Total
from jobs.observer.figures.models import ExecutionMetric, MarketDataMetric, StrategyMetric, SystemMetric
from jobs.observer.figures.sections import (
    execution_section,
    market_data_section,
    render,
    strategies_of_bots,
    strategy_section,
    system_section,
)
from tests.support.observed import BOT, START, STRATEGY, store_example

ALERT_ID = "system:disk:critical:1763469296789"


def store(run: Mapping[str, Any]) -> None:
    """Store reports, metrics of two seconds and an alert; publish a snapshot if no observer does.

    `run` is the content of run.json.
    """
    with closing(Store(run["database_url"])) as database, database.transaction() as cursor:
        store_example(cursor)
        insert_market(cursor, [_second(0, "1.09450"), _second(1, "1.09480")])
        if is_mine(cursor):
            roll_up_metrics(cursor, START + timedelta(hours=1))
        _raise_alert(cursor)
    with closing(Bus(run["redis_url"], lambda: datetime.now(UTC))) as bus:
        if bus.latest_snapshot() is None:
            bus.publish_snapshot(_snapshot(datetime.now(UTC)))


def _second(number: int, text: str) -> MarketRow:
    price = Decimal(text)
    return MarketRow(START + timedelta(seconds=number), "EUR_USD", price, price, price, price, price, None, None, None, 1.83, 1)


def _raise_alert(cursor: Cursor) -> None:
    cursor.execute(
        "INSERT INTO alerts (type, severity, time, value, threshold, message, subject, key, alert_id, state, updated_at)"
        " VALUES ('system', 'critical', %(time)s, 96.1, 95, 'Disk usage 96.1 %% is above 95 %%.', 'disk', 'system:disk', %(id)s,"
        " 'firing', %(time)s) ON CONFLICT DO NOTHING",
        {"time": datetime(2025, 11, 18, 12, 34, 56, 789_000, tzinfo=UTC), "id": ALERT_ID},
    )


def _snapshot(now: datetime) -> Snapshot:
    """A snapshot as the observer publishes it."""
    bid, ask, mid = (Decimal(text) for text in ("1.09380", "1.09390", "1.09385"))
    price = MarketDataMetric("EUR_USD", mid, bid, ask, spread_bps=0.91, time=now, state="live")
    strategy = StrategyMetric(STRATEGY, Decimal("-0.300"), Decimal("-0.300"), win_rate=0.5, bots=(BOT,), last_report=now, state="live")
    bodies = {
        "market_data": market_data_section(now, [price]),
        "strategy": strategy_section(now, [strategy], Total(Decimal("-0.300"), "USD", {}), Decimal("-0.300")),
        "execution": execution_section(now, ExecutionMetric(5, 5, fill_rate=1.0, avg_latency_ms=31.2, avg_slippage_bps=0.91)),
        "system": system_section(now, SystemMetric(12.5, 40.1, 55.0, 61.5, "healthy")),
    }
    texts = {name: render(body) for name, body in bodies.items()}
    strings = {name: each.strings for name, each in texts.items()}
    strings[STRATEGIES_OF_BOTS] = render(strategies_of_bots([(BOT, strategy)])).strings
    return Snapshot(format_time(now), 1, "example", {name: each.numbers for name, each in texts.items()}, strings)
