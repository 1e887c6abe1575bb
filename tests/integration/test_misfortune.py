"""Faults of the exchanges, the bus, the store and the jobs in the first half of a busy hour."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis as redis_client

from config.settings import Settings
from db.postgres import Store
from tests.conftest import until
from tests.support.half_hour import HalfHour, Script, check_candles, check_prices, check_trades, half_hour
from tests.support.store import trade_gaps as gaps

START = datetime(2014, 5, 5, 14, tzinfo=UTC)  # the busiest hour of the recording
OANDA_OUTAGES = 5  # before the first connection, at minutes 5, 9 and 17, and while the jobs are killed


def script(half: HalfHour) -> Script:
    binance, oanda = half.binance.control, half.oanda.control
    return [
        (3, [lambda: binance("drop")]),
        (5, [lambda: oanda(do="drop")]),
        (7, [lambda: binance("skip", count=40)]),
        (9, [lambda: oanda(do="half")]),
        (11, [half.kill_sessions]),
        (13, [lambda: binance("refuse", status=429, count=2, retry_after=1), lambda: binance("drop")]),
        (15, [half.kill_clients]),
        (17, [lambda: oanda(do="refuse", status=503, times=2), lambda: oanda(do="reset")]),
        (19, [lambda: binance("shutdown")]),
        (21, [lambda: binance("half", count=3), lambda: binance("garbage")]),
        (23, [lambda: oanda(do="say", text='{"type":"PRICE","instrument":"EUR_USD","time":"yesterday"}\nnonsense\n')]),
        (24, [lambda: binance("stall", seconds=3)]),
        (28, [half.kill_jobs]),
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_store_is_complete_after_faults_and_a_kill_of_the_jobs(
    settings: Settings, store: Store, raw_redis: redis_client.Redis, tmp_path: Path
) -> None:
    with half_hour(START, settings, store, raw_redis, tmp_path) as half:
        half.play(script(half))
        half.oanda.control(do="drop")  # candles are fetched after a reconnection, or after a full hour
        check_trades(half)
        # The filler marks a gap in a transaction after that of its trades.
        until(lambda: gaps(store, "open", "unfillable") == [], 60, lambda: f"filled gaps: {gaps(store)}")
        check_candles(half)
        check_prices(half, OANDA_OUTAGES)
