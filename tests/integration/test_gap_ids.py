"""Every id of a series is stored or in a gap, in any order of arrival and with any times."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.gaps import advance_watermark, narrow, open_gaps, reopen, report_unusable, set_state
from db.inserted import Origin
from db.messages import Trade, trade_lines
from db.postgres import Store
from db.timestamps import format_time
from db.trades import insert_trades
from tests.support.examples import with_shared_fixtures
from tests.support.store import trade_gaps as gaps

NOW = datetime(2025, 11, 20, tzinfo=UTC)
START = datetime(2025, 11, 18, tzinfo=UTC)
SOURCE, SYMBOL = "binance", "BTCUSDT"
TABLES = "raw_trades, gaps, trade_series, trade_watermarks, candle_marks"


class Bounds:
    """A window of time."""

    earliest = format_time(START)
    latest = format_time(NOW)


def trade(number: int, seconds: float | None = None) -> Trade:
    return Trade(SYMBOL, number, format_time(START + timedelta(seconds=number if seconds is None else seconds)), "1", "1", "buy")


def put(store: Store, trades: Sequence[Trade], origin: Origin = "live") -> None:
    with store.transaction() as cursor:
        insert_trades(cursor, trade_lines(trades), origin=origin)


def search(store: Store, rows: int = 50_000) -> None:
    """One round: move the watermarks as far as they go, and compare open gaps with the store."""
    more = True
    while more:
        with store.transaction() as cursor:
            more = advance_watermark(cursor, SOURCE, SYMBOL, NOW, rows=rows, window=Bounds()).more
    with store.transaction() as cursor:
        for gap in open_gaps(cursor, SOURCE):
            narrow(cursor, SOURCE, gap, NOW, rows=rows, window=Bounds())


def unaccounted(store: Store) -> set[tuple[int, int]]:
    """(series, id) between first and highest id of each series, neither stored nor in a gap."""
    with store.transaction() as cursor:
        cursor.execute("SELECT series, first_id, highest_id FROM trade_series")
        wanted = {(series, number) for series, first, last in cursor.fetchall() for number in range(first, last + 1)}
        cursor.execute("SELECT series, trade_id FROM raw_trades")
        stored = set(cursor.fetchall())
        cursor.execute("SELECT series, first_id, last_id, state FROM gaps WHERE kind = 'trades' AND state <> 'filled'")
        rows = [((series, number), state) for series, first, last, state in cursor.fetchall() for number in range(first, last + 1)]
    missing = dict(rows)
    assert len(rows) == len(missing), "two gaps hold the same id"
    assert not any(missing[each] == "open" for each in stored & missing.keys())
    return wanted - stored - set(missing)


batches = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(1, 60), st.integers(-100_000, 300_000)), min_size=1, max_size=12),
        st.sampled_from(["live", "history", "file"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=7,
)


@with_shared_fixtures(max_examples=25)
@given(batches=batches, rows=st.integers(1, 30))
def test_every_id_is_stored_or_in_a_gap_in_any_order_and_with_any_times(
    store: Store, batches: list[tuple[list[tuple[int, int]], Origin, bool]], rows: int
) -> None:
    with store.transaction() as cursor:
        cursor.execute(f"TRUNCATE {TABLES}")
    for trades, origin, searched in batches:
        put(store, [trade(number, seconds) for number, seconds in trades], origin)
        if searched:
            search(store, rows)
            assert unaccounted(store) == set()
    search(store, rows)
    assert unaccounted(store) == set()
    with store.transaction() as cursor:
        cursor.execute("SELECT series, min(trade_id), max(trade_id) FROM raw_trades GROUP BY 1 ORDER BY 1")
        stored = cursor.fetchall()
        cursor.execute("SELECT series, first_id, highest_id FROM trade_series ORDER BY 1")
        assert cursor.fetchall() == stored[: cursor.rowcount]  # one trade alone may stand in the next series


@pytest.mark.parametrize("origin", ["live", "history", "file"])
def test_trade_that_would_begin_a_series_is_not_counted_in_the_old_one(store: Store, origin: Origin) -> None:
    """It came a second time by another way: the old series had its id, but not the trade."""
    put(store, [trade(2, seconds=0)])
    ways: tuple[Origin, Origin] = ("live", origin)
    for way in ways:
        put(store, [trade(1, seconds=61)], way)
        search(store)
        assert unaccounted(store) == set()
    with store.transaction() as cursor:
        cursor.execute("SELECT series, trade_id FROM raw_trades ORDER BY 1")
        assert cursor.fetchall() == [(1, 2), (2, 1)]


def test_hole_behind_a_stored_wild_time_is_found(store: Store) -> None:
    """The watermark used to stand at the wild time, beyond every later trade."""
    put(store, [trade(500), trade(501, seconds=2_300_000_000), trade(502)])
    search(store)
    put(store, [trade(503), trade(506)])
    search(store)
    assert [row[1:5] for row in gaps(store)] == [(504, 505, 2, "open")]
    with store.transaction() as cursor:
        cursor.execute("SELECT start_time, end_time FROM gaps")
        ((start, end),) = cursor.fetchall()
        assert START < start < end < NOW


def test_ids_below_the_first_are_expected_once_lower_ones_are_stored(store: Store) -> None:
    put(store, [trade(50), trade(51)])
    search(store)
    put(store, [trade(40), trade(45)], "history")
    search(store, rows=1)
    assert [row[1:4] for row in gaps(store)] == [(41, 44, 4), (46, 49, 4)]


def test_unusable_record_is_not_asked_for_again(store: Store) -> None:
    put(store, [trade(1), trade(5)])
    search(store)
    with store.transaction() as cursor:
        assert report_unusable(cursor, SOURCE, SYMBOL, [(3, trade(3).time)], "bad_trade", NOW) == 1
        assert report_unusable(cursor, SOURCE, SYMBOL, [(3, trade(3).time)], "bad_trade", NOW) == 1
    search(store)
    reason = "the exchange's record cannot be used: bad_trade"
    assert gaps(store) == [
        (SYMBOL, 2, 2, 1, "open", None), (SYMBOL, 3, 3, 1, "unfillable", reason), (SYMBOL, 4, 4, 1, "open", None),
    ]  # fmt: skip
    with store.transaction() as cursor:
        for gap in open_gaps(cursor, SOURCE):
            set_state(cursor, gap, "unfillable", "absent", NOW)
        assert reopen(cursor, SOURCE, NOW) == 2
    assert [row[1] for row in gaps(store, "open")] == [2, 4]
    assert unaccounted(store) == set()


def test_unusable_record_before_the_search_is_no_open_gap(store: Store) -> None:
    put(store, [trade(1), trade(3)])
    with store.transaction() as cursor:
        report_unusable(cursor, SOURCE, SYMBOL, [(2, trade(2).time)], "time_in_future", NOW)
    search(store)
    assert [row[4] for row in gaps(store)] == ["unfillable"]


def test_holes_of_an_older_series_are_unfillable(store: Store) -> None:
    put(store, [trade(number) for number in (500_000, 500_002)])
    search(store)
    put(store, [trade(500_005)])  # a hole that nothing has looked for yet
    put(store, [trade(1, seconds=600_000), trade(4, seconds=600_001)])
    search(store)
    with store.transaction() as cursor:
        cursor.execute("SELECT series, kind, first_id, last_id, state, reason FROM gaps ORDER BY series, first_id, kind")
        anew = "the exchange has begun its ids anew"
        assert cursor.fetchall() == [
            (1, "trades", 500_001, 500_001, "unfillable", anew), (1, "trades", 500_003, 500_004, "unfillable", anew),
            (2, "series", 1, 1, "filled", None), (2, "trades", 2, 3, "open", None),
        ]  # fmt: skip
        assert reopen(cursor, SOURCE, NOW) == 2
    search(store)
    assert gaps(store, "open") == [(SYMBOL, 2, 3, 2, "open", None)]
    assert unaccounted(store) == set()
