"""The tiers of the metrics: rows of a second, their roll-up and history, by hand arithmetic."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from db.metrics.columns import Section
from db.metrics.execution import EXECUTION, ExecutionRow, insert_execution
from db.metrics.history import read_history
from db.metrics.market import MARKET, MarketRow, insert_market
from db.metrics.rollup import is_mine, roll_up_metrics
from db.metrics.strategy import STRATEGY, StrategyRow, insert_strategy
from db.metrics.system import SYSTEM, SystemRow, insert_system
from db.postgres import Store
from tests.support.store import select

NOON = datetime(2025, 11, 18, 12, tzinfo=UTC)
LATER = NOON + timedelta(days=1)


def at(minute: int, second: int = 0) -> datetime:
    return NOON + timedelta(minutes=minute, seconds=second)


def roll_up(store: Store, ended: datetime = LATER) -> int:
    with store.transaction() as cursor:
        assert is_mine(cursor)
        return roll_up_metrics(cursor, ended)


def history(store: Store, section: Section, interval: str, **options: Any) -> list[dict[str, Any]]:
    with store.transaction() as cursor:
        return read_history(cursor, section, interval, NOON, LATER, **options)


def market(
    minute: int, second: int, price: str, symbol: str = "EUR_USD", volume: str | None = "1.50", spread: float | None = 2.0
) -> MarketRow:
    value = Decimal(price)
    return MarketRow(
        at(minute, second), symbol, value, value, None, value, value, None, None if volume is None else Decimal(volume),
        None if volume is None else 3, spread, 0 if spread is None else 1,
    )  # fmt: skip


MARKET_ROWS = [
    market(0, 0, "1.09450"), market(0, 30, "1.09470", spread=4.0), market(0, 59, "1.09440", volume=None, spread=None),
    market(1, 0, "1.09500"), market(7, 0, "1.09300"), market(61, 0, "1.09600"), market(0, 1, "1.2", "GBP_USD"),
]  # fmt: skip


def put_market(store: Store, *rows: MarketRow) -> int:
    with store.transaction() as cursor:
        return insert_market(cursor, rows)


def test_rows_of_market_become_minutes_and_hours(store: Store) -> None:
    assert put_market(store, *MARKET_ROWS) == 7
    assert put_market(store, *MARKET_ROWS[:3]) == 0
    roll_up(store)
    minute = history(store, MARKET, "1m", only={"symbol": ["EUR_USD"]})
    assert minute[0] == {
        "time": NOON, "symbol": "EUR_USD", "last_price": "1.09440", "bid": "1.09440", "ask": None, "high": "1.09470", "low": "1.09440",
        "vwap": None, "volume": "3.00", "trades": 6, "spread_bps_sum": 6.0, "spread_bps_samples": 2, "spread_bps": 3.0,
    }  # fmt: skip
    assert [(row["time"], row["volume"]) for row in minute] == [(at(0), "3.00"), (at(1), "1.50"), (at(7), "1.50"), (at(61), "1.50")]
    hours = history(store, MARKET, "1h")
    assert [(row["time"], row["symbol"], row["last_price"], row["high"], row["low"], row["volume"], row["trades"]) for row in hours] == [
        (NOON, "EUR_USD", "1.09300", "1.09500", "1.09300", "6.00", 12), (NOON, "GBP_USD", "1.2", "1.2", "1.2", "1.50", 3),
        (at(60), "EUR_USD", "1.09600", "1.09600", "1.09600", "1.50", 3),
    ]  # fmt: skip
    # (2 + 4 + 2 + 2) / 4 over the samples of the hour, not the mean of the means of its minutes
    assert hours[0]["spread_bps"] == 2.5


def test_repeated_and_late_roll_ups_give_the_same_rows(store: Store) -> None:
    rows = "SELECT * FROM metrics_market_1m ORDER BY 1, 2", "SELECT * FROM metrics_market_1h ORDER BY 1, 2"
    put_market(store, *MARKET_ROWS)
    roll_up(store)
    expected = [select(store, each) for each in rows]
    assert roll_up(store) == 0
    select(store, "INSERT INTO metrics_marks VALUES ('market', '1m', %s), ('market', '1m', %s) RETURNING 1", NOON, NOON)
    assert roll_up(store) == 2  # the minute, and its hour
    assert [select(store, each) for each in rows] == expected
    select(store, "DELETE FROM metrics_market_1s RETURNING 1")
    select(store, "DELETE FROM metrics_market_1m RETURNING 1")
    select(store, "DELETE FROM metrics_market_1h RETURNING 1")
    for row in (MARKET_ROWS[5], *MARKET_ROWS[4::-1], MARKET_ROWS[6]):  # backwards, one at a time
        put_market(store, row)
        roll_up(store)
    assert [select(store, each) for each in rows] == expected


def test_forming_minute_and_hour_wait_for_their_end(store: Store) -> None:
    put_market(store, market(0, 0, "1.1"), market(1, 0, "1.2"))
    assert roll_up(store, at(1, 59)) == 1
    assert [row["time"] for row in history(store, MARKET, "1m")] == [NOON]
    assert history(store, MARKET, "1h") == []
    assert roll_up(store, at(60)) == 2
    assert [row["last_price"] for row in history(store, MARKET, "1h")] == ["1.2"]


def test_rows_without_parts_stay(store: Store) -> None:
    """Retention has dropped the seconds, and a mark comes late."""
    put_market(store, market(0, 0, "1.1"))
    roll_up(store)
    select(store, "DELETE FROM metrics_market_1s RETURNING 1")
    select(store, "INSERT INTO metrics_marks VALUES ('market', '1m', %s), ('system', '1m', %s) RETURNING 1", NOON, NOON)
    roll_up(store)
    assert [row["last_price"] for row in history(store, MARKET, "1m")] == ["1.1"]
    assert history(store, SYSTEM, "1m") == []


def test_intervals_between_the_tiers_are_computed(store: Store) -> None:
    put_market(store, *MARKET_ROWS)
    roll_up(store)
    only = {"symbol": ["EUR_USD"]}
    five = history(store, MARKET, "5m", only=only)
    assert [(row["trades"], row["spread_bps_samples"]) for row in five] == [(9, 3), (3, 1), (3, 1)]
    assert [(row["time"], row["volume"], row["high"], row["spread_bps"]) for row in five] == [
        (at(0), "4.50", "1.09500", 8 / 3), (at(5), "1.50", "1.09300", 2.0), (at(60), "1.50", "1.09600", 2.0),
    ]  # fmt: skip
    assert [(row["time"], row["volume"]) for row in history(store, MARKET, "15m", only=only)] == [(at(0), "6.00"), (at(60), "1.50")]
    (day,) = history(store, MARKET, "1d", only=only)
    assert (day["time"], day["volume"], day["last_price"]) == (datetime(2025, 11, 18, tzinfo=UTC), "7.50", "1.09600")
    assert len(history(store, MARKET, "1s")) == 7


@pytest.mark.parametrize("interval", ["1s", "5m"])
def test_pages_follow_each_other(store: Store, interval: str) -> None:
    put_market(store, *MARKET_ROWS)
    roll_up(store)
    whole = history(store, MARKET, interval)
    found: list[dict[str, Any]] = []
    while page := history(store, MARKET, interval, limit=2, after=(found[-1]["time"], found[-1]["symbol"]) if found else None):
        found += page
    assert found == whole
    with pytest.raises(ValueError, match="not a key"):
        history(store, MARKET, interval, only={"bot": ["a"]})


def test_last_values_of_strategy_and_extremes(store: Store) -> None:
    def row(second: int, pnl: str, win_rate: float | None) -> StrategyRow:
        value = Decimal(pnl)
        return StrategyRow(at(0, second), "mm-1", "s", value, value, value, None, 1, second, win_rate, value - 1, value + 1)

    with store.transaction() as cursor:
        assert insert_strategy(cursor, [row(1, "-0.340", 0.5), row(2, "7.25", 0.25), row(3, "-0.290", None)]) == 3
    roll_up(store)
    (found,) = history(store, STRATEGY, "1h")
    assert (found["pnl"], found["pnl_min"], found["pnl_max"], found["signals"]) == ("-0.290", "-1.340", "8.25", 3)
    assert (found["win_rate"], found["unrealized_pnl"]) == (0.25, None)  # the last that is known


def test_counts_of_the_day_are_last_and_averages_have_their_weights(store: Store) -> None:
    rows = [
        ExecutionRow(at(0, 1), "mm-1", "s", 5, 3, 1, 0, 30.0, 2, 910.0, 1000.0),  # 0.91 bps for 1,000
        ExecutionRow(at(0, 2), "mm-1", "s", 6, 4, 1, 0, 60.0, 1, -500.0, 500.0),  # -1 bps for 500
        ExecutionRow(at(0, 3), "mm-1", "t", 1, 0, 0, 1),
    ]
    with store.transaction() as cursor:
        assert insert_execution(cursor, rows) == 3
    roll_up(store)
    first, second = history(store, EXECUTION, "1d")
    assert (first["orders_submitted"], first["orders_filled"], first["latency_ms"]) == (6, 4, 30.0)
    assert first["slippage_bps"] == pytest.approx(410 / 1500)
    assert (second["orders_rejected"], second["latency_ms"], second["slippage_bps"]) == (1, None, None)


def test_worst_health_and_means_of_the_system(store: Store) -> None:
    def row(second: int, cpu: float | None, health: str | None, alerts: int) -> SystemRow:
        samples = int(cpu is not None)
        return SystemRow(at(0, second), cpu, cpu, samples, 50.0, 50.0, 1, 9.0, 9.0, 1, health, alerts, float(second))

    with store.transaction() as cursor:
        insert_system(cursor, [row(1, 10.0, "degraded", 2), row(2, None, None, 3), row(3, 40.0, "healthy", 0)])
    roll_up(store)
    (found,) = history(store, SYSTEM, "15m")
    assert (found["cpu_percent"], found["cpu_percent_max"], found["memory_percent"]) == (25.0, 40.0, 50.0)
    assert (found["health"], found["active_alerts"], found["uptime_seconds"]) == ("degraded", 3, 3.0)
