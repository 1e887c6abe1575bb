"""The search for gaps in the trades of a real store."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.gaps import advance_watermark, narrow, open_gaps
from db.messages import Trade
from db.postgres import Store
from db.timestamps import format_time, parse_time
from tests.support.examples import with_shared_fixtures
from tests.support.store import put_trades, trade_gaps

NOW = datetime(2025, 11, 19, tzinfo=UTC)


def watermarks(store: Store) -> dict[str, int]:
    with store.transaction() as cursor:
        cursor.execute("SELECT symbol, trade_id FROM trade_watermarks")
        return dict(cursor.fetchall())


def trade(number: int, symbol: str = "BTCUSDT") -> Trade:
    """Return trade `number`: ten trades per second, two of them at the same time."""
    moment = datetime(2025, 11, 18, tzinfo=UTC) + timedelta(milliseconds=200 * (number // 2))
    return Trade(symbol, number, format_time(moment), "1.00", "2.0", "buy")


def test_holes_are_recorded_when_the_watermark_passes_them(store: Store) -> None:
    put_trades(store, [trade(number) for number in (100, 101, 104, 105, 110)])
    with store.transaction() as cursor:
        step = advance_watermark(cursor, "binance", "BTCUSDT", NOW)
    assert (step.holes, step.more) == (2, False)
    assert trade_gaps(store) == [("BTCUSDT", 102, 103, 2, "open", None), ("BTCUSDT", 106, 109, 4, "open", None)]
    assert watermarks(store) == {"BTCUSDT": 110}
    with store.transaction() as cursor:
        cursor.execute("SELECT start_time, end_time FROM gaps ORDER BY first_id")
        for (start, end), first in zip(cursor.fetchall(), (102, 106), strict=True):
            assert start <= parse_time(trade(first).time) < end
        assert advance_watermark(cursor, "binance", "BTCUSDT", NOW).holes == 0


def test_symbol_without_trades_has_neither_watermark_nor_gap(store: Store) -> None:
    with store.transaction() as cursor:
        assert advance_watermark(cursor, "binance", "BTCUSDT", NOW).holes == 0
    assert (watermarks(store), trade_gaps(store)) == ({}, [])


def test_rolled_back_watermark_records_no_gap(store: Store) -> None:
    put_trades(store, [trade(1), trade(9)])

    def killed_before_the_commit() -> None:
        with store.transaction() as cursor:
            assert advance_watermark(cursor, "binance", "BTCUSDT", NOW).holes == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed_before_the_commit()
    assert (watermarks(store), trade_gaps(store)) == ({}, [])


@with_shared_fixtures(max_examples=20)
@given(
    ids=st.sets(st.integers(1, 60), min_size=1),
    later=st.sets(st.integers(1, 60)),
    batches=st.integers(1, 5),
    rows=st.integers(1, 40),
    seed=st.integers(),
)
def test_open_gaps_equal_the_missing_trades_in_any_order(
    store: Store, ids: set[int], later: set[int], batches: int, rows: int, seed: int
) -> None:
    """Trades arrive in any order, in batches; the search runs in between, few rows at a time."""
    with store.transaction() as cursor:
        cursor.execute("TRUNCATE raw_trades, gaps, trade_series, trade_watermarks, candle_marks")
    order = sorted(ids)
    first = order.pop(0)
    random.Random(seed).shuffle(order)
    everything = ids | {number for number in later if number > first}
    parts = [[first], *(order[start::batches] for start in range(batches)), sorted(everything - ids)]
    for part in parts:
        put_trades(store, [trade(number) for number in part])
        more = True
        while more:
            with store.transaction() as cursor:
                more = advance_watermark(cursor, "binance", "BTCUSDT", NOW, rows=rows).more
    with store.transaction() as cursor:
        left = [part for gap in open_gaps(cursor, "binance") for part in narrow(cursor, "binance", gap, NOW, rows=rows)]
        again = [part for gap in open_gaps(cursor, "binance") for part in narrow(cursor, "binance", gap, NOW, rows=rows)]
    missing = sorted(number for gap in left for number in range(gap.hole.first_id, gap.hole.last_id + 1))
    assert missing == sorted(set(range(first, max(everything))) - everything)
    assert again == sorted(left, key=lambda gap: (gap.hole.missing, gap.id))
    for gap in left:
        assert gap.hole.start <= parse_time(trade(gap.hole.first_id).time) <= parse_time(trade(gap.hole.last_id).time) < gap.hole.end


def test_partly_filled_gap_becomes_its_remaining_holes(store: Store) -> None:
    put_trades(store, [trade(1), trade(10)])
    with store.transaction() as cursor:
        advance_watermark(cursor, "binance", "BTCUSDT", NOW)
    put_trades(store, [trade(number) for number in (4, 5, 8)])
    with store.transaction() as cursor:
        (gap,) = open_gaps(cursor, "binance")
        narrow(cursor, "binance", gap, NOW)
    assert [row[1:5] for row in trade_gaps(store)] == [(2, 3, 2, "open"), (6, 7, 2, "open"), (9, 9, 1, "open")]
    put_trades(store, [trade(number) for number in range(1, 10)])
    with store.transaction() as cursor:
        assert [narrow(cursor, "binance", gap, NOW) for gap in open_gaps(cursor, "binance")] == [[], [], []]
    assert {row[4] for row in trade_gaps(store)} == {"filled"}
