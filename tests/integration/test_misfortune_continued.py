"""Faults in the second half of a busy hour: longer ones, lost trades, a silent stream."""

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

START = datetime(2014, 5, 5, 14, 30, tzinfo=UTC)
OANDA_OUTAGES = 4  # before the first connection, and at minutes 8, 17 and 27


def script(half: HalfHour) -> Script:
    binance, oanda = half.binance.control, half.oanda.control
    return [
        (4, [lambda: binance("vanish", seconds=2)]),
        (8, [lambda: oanda(do="refuse", status=429, times=1, retry_after=2), lambda: oanda(do="end")]),
        (12, [half.kill_sessions, half.kill_clients]),
        (14, [lambda: binance("repeat", count=30), lambda: binance("reorder", count=10)]),
        (16, [lambda: binance("refuse", what="handshake", status=503, count=2)]),
        (17, [lambda: binance("close"), lambda: oanda(do="drop")]),
        (20, [lambda: binance("lose", count=2, symbol="ETHUSDT")]),
        (22, [lambda: binance("refuse", status=502, count=8), lambda: binance("drop")]),
        (25, [half.kill_clients]),
        (27, [lambda: oanda(do="stall")]),  # noticed as silence, 15 seconds later
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_store_misses_lost_trades_only_after_faults_and_a_silent_stream(
    settings: Settings, store: Store, raw_redis: redis_client.Redis, tmp_path: Path
) -> None:
    with half_hour(START, settings, store, raw_redis, tmp_path) as half:
        half.play(script(half))
        check_trades(half)
        lost = half.lost_ids()
        wanted = [("ETHUSDT", lost[0], lost[1], 2)]
        # The filler marks a gap in a transaction after that of its trades.
        until(lambda: [row[:4] for row in gaps(store, "open", "unfillable")] == wanted, 60, lambda: f"one gap: {gaps(store)}")
        check_candles(half)
        check_prices(half, OANDA_OUTAGES)
