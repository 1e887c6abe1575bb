"""Identity by content, in a real store: overlapping pieces give the rows of one loading."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.inserted import Inserted, Origin
from db.messages import Trade, trade_lines
from db.postgres import Cursor, Store
from db.prices import PriceRow, delete_recorded, insert_prices, latest_mids, latest_times
from db.rollup import is_mine, roll_up
from db.timestamps import format_time
from db.trade_series import MAX_ID_STEP, climb
from db.trades import insert_trades, latest_ids
from tests.support.examples import with_shared_fixtures
from tests.support.store import trade_gaps as gaps

START = datetime(2025, 11, 18, 12, tzinfo=UTC)
LATER = datetime(2025, 11, 20, tzinfo=UTC)
TABLES = "raw_trades, prices, candles, candle_marks, gaps, trade_series, trade_watermarks"
few = with_shared_fixtures(max_examples=20)


def trade(number: int, *, symbol: str = "BTCUSDT", seconds: float | None = None, microseconds: int = 0, price: str = "2.50") -> Trade:
    """The trade with this id, 7 s after the one before it, or `seconds` after the start."""
    moment = START + timedelta(seconds=7 * number if seconds is None else seconds, microseconds=microseconds)
    return Trade(symbol, number, format_time(moment), price, "0.5", "buy")


def put(store: Store, trades: Sequence[Trade], origin: Origin = "live", **options: Any) -> Inserted:
    with store.transaction() as cursor:
        return insert_trades(cursor, trade_lines(trades), origin=origin, **options)


def ids(store: Store, symbol: str = "BTCUSDT") -> list[tuple[int, int]]:
    """(series, id) of every trade."""
    with store.transaction() as cursor:
        cursor.execute("SELECT series, trade_id FROM raw_trades WHERE symbol = %s ORDER BY 1, 2", (symbol,))
        return list(cursor.fetchall())


def candles(cursor: Cursor) -> list[Any]:
    """Every candle after the roll-up."""
    assert is_mine(cursor)
    roll_up(cursor, 20_000, LATER, [])
    cursor.execute(
        "SELECT symbol, interval, start_time, open::float8, high::float8, low::float8, close::float8, volume::float8, trades FROM candles"
        " ORDER BY 1, 2, 3"
    )
    return list(cursor.fetchall())


# trades

pieces = st.lists(
    st.tuples(st.integers(1, 40), st.integers(1, 20), st.sampled_from(["live", "history", "file"]), st.booleans()), min_size=1, max_size=8
)


@few
@given(pieces=pieces, candles_between=st.booleans())
def test_overlapping_pieces_of_trades_in_any_order_are_stored_once(
    store: Store, pieces: list[tuple[int, int, Origin, bool]], candles_between: bool
) -> None:
    """Some pieces have times in milliseconds, others in microseconds, and other digits."""
    with store.transaction() as cursor:
        cursor.execute(f"TRUNCATE {TABLES}")
    wanted: set[int] = set()
    for first, length, origin, exact in pieces:
        numbers = range(first, first + length)
        given = [trade(number, microseconds=123 if exact else 0, price="2.5" if exact else "2.500") for number in numbers]
        inserted = put(store, given, origin)
        assert (inserted.new, inserted.duplicates, inserted.conflicts) == (len(set(numbers) - wanted), len(set(numbers) & wanted), ())
        wanted |= set(numbers)
        if candles_between:
            with store.transaction() as cursor:
                candles(cursor)
    assert ids(store) == [(1, number) for number in sorted(wanted)]
    with store.transaction() as cursor:
        assert latest_ids(cursor, ["BTCUSDT", "ETHUSDT"]) == {"BTCUSDT": max(wanted)}
        in_pieces = candles(cursor)
    with store.transaction() as cursor:
        cursor.execute(f"TRUNCATE {TABLES}")
        insert_trades(cursor, trade_lines([trade(number) for number in sorted(wanted)]))
        assert candles(cursor) == in_pieces


def test_trade_under_two_times_is_one(store: Store) -> None:
    first = [trade(1), trade(2), trade(4)]
    assert put(store, first).new == 3
    again = put(store, [*(each._replace(time=each.time.replace(".000000", ".000321")) for each in first), trade(3)], "file")
    assert (again.new, again.duplicates) == (1, 3)
    assert ids(store) == [(1, 1), (1, 2), (1, 3), (1, 4)]


def test_trade_twice_in_one_batch_is_one(store: Store) -> None:
    assert put(store, [trade(5), trade(5), trade(5, microseconds=9)]) == Inserted(1, 2)
    assert put(store, [trade(6), trade(7), trade(6, microseconds=9)]) == Inserted(2, 1)
    assert ids(store) == [(1, 5), (1, 6), (1, 7)]


def test_trade_with_another_price_is_a_conflict(store: Store) -> None:
    put(store, [trade(1), trade(2)])
    changed = trade(2, price="2.51", seconds=99)
    outcome = put(store, [trade(1), changed, changed], "file")
    assert (outcome.new, outcome.duplicates, len(outcome.conflicts)) == (0, 1, 2)
    assert str(outcome.conflicts[0]) == "BTCUSDT trade 2: stored 2.50 0.5 buy, given 2.51 0.5 buy"
    assert put(store, [changed._replace(side="sell")], "history").conflicts
    assert put(store, [trade(2, price="2.500")]).conflicts == ()
    with store.transaction() as cursor:
        cursor.execute("SELECT price FROM raw_trades ORDER BY trade_id")
        assert cursor.fetchall() == [("2.50",), ("2.50",)]


def test_replacing_a_trade_rebuilds_the_candles_of_both_times(store: Store) -> None:
    put(store, [trade(1), trade(2)])
    with store.transaction() as cursor:
        candles(cursor)
    assert put(store, [trade(2, price="3", seconds=300)], "file", replace=True) == Inserted(1)
    with store.transaction() as cursor:
        after = candles(cursor)
        cursor.execute(f"TRUNCATE {TABLES}")
    put(store, [trade(1), trade(2, price="3", seconds=300)])
    with store.transaction() as cursor:
        assert candles(cursor) == after


# series


def test_ids_that_begin_anew_are_a_new_series(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    put(store, [trade(number) for number in (5_000_000, 5_000_001)])
    late = START + timedelta(days=1, seconds=7 * 5_000_001)
    new = [Trade("BTCUSDT", number, format_time(late + timedelta(seconds=number)), "2", "1", "sell") for number in (1, 2, 5_000_000)]
    assert put(store, new[:2]).new == 2
    assert ids(store) == [(1, 5_000_000), (1, 5_000_001), (2, 1), (2, 2)]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "the exchange has begun its trade ids anew: a new series begins"
    ]
    with store.transaction() as cursor:
        cursor.execute("SELECT source, symbol, series, first_id, last_id, missing, state FROM gaps WHERE kind = 'series'")
        assert cursor.fetchall() == [("binance", "BTCUSDT", 2, 1, 1, 0, "filled")]
        assert latest_ids(cursor, ["BTCUSDT"]) == {"BTCUSDT": 2}
    assert put(store, [new[2]]).new == 1  # an id of the first series too
    assert put(store, new) == Inserted(0, 3)
    assert put(store, [trade(4_999_999)], "file").new == 1  # by its time of the first series
    assert put(store, [trade(5_000_000)], "file").new == 0
    assert ids(store) == [(1, 4_999_999), (1, 5_000_000), (1, 5_000_001), (2, 1), (2, 2), (2, 5_000_000)]


@pytest.mark.parametrize("in_one_batch", [True, False])
def test_slightly_lower_ids_begin_a_series_after_a_quiet_minute(store: Store, in_one_batch: bool) -> None:
    put(store, [trade(100), trade(110)])
    lower = [trade(105, seconds=7 * 110 + 61), trade(106, seconds=7 * 110 + 62)]
    for batch in [lower] if in_one_batch else [[each] for each in lower]:
        put(store, batch)
    assert ids(store) == [(1, 100), (1, 110), (2, 105), (2, 106)]
    with store.transaction() as cursor:
        cursor.execute("SELECT series, first_id, highest_id, restart_id FROM trade_series ORDER BY 1")
        assert cursor.fetchall() == [(1, 100, 110, None), (2, 105, 106, None)]


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ([trade(200_050), trade(200_051)], "live"),  # late: id and time within the series
        ([trade(300_000, seconds=9_000_000), trade(299_000, seconds=9_000_000)], "live"),  # repeated, with another time
        ([trade(299_990, seconds=7 * 300_000 + 59), trade(299_991, seconds=7 * 300_000 + 59)], "live"),  # lower, within a minute
        ([trade(10), trade(11)], "live"),  # older than the first
        ([trade(10, seconds=9_000_000), trade(11, seconds=9_000_000)], "history"),
        ([trade(10, seconds=9_000_000), trade(11, seconds=9_000_000)], "file"),
    ],
)
def test_late_repeated_and_recorded_trades_begin_no_series(store: Store, given: list[Trade], origin: Origin) -> None:
    put(store, [trade(number) for number in (100_000, 299_000, 300_000)])
    put(store, given, origin)
    assert {series for series, _ in ids(store)} == {1}
    assert gaps(store) == []


def test_one_wild_id_neither_begins_a_series_nor_hides_a_hole(store: Store) -> None:
    put(store, [trade(1_000_000), trade(1_000_001)])
    put(store, [trade(7, seconds=9_000_000)])  # low
    put(store, [trade(2_000_000_000, seconds=9_000_000)])  # high
    put(store, [trade(1_000_002), trade(1_000_004)])
    with store.transaction() as cursor:
        assert latest_ids(cursor, ["BTCUSDT"]) == {"BTCUSDT": 1_000_004}
        cursor.execute("SELECT series, highest_id, unconfirmed, restart_id FROM trade_series")
        assert cursor.fetchall() == [(1, 1_000_004, [2_000_000_000], 7)]
    assert put(store, [trade(2_000_000_000, seconds=9_000_000), trade(7, seconds=9_000_000)]) == Inserted(0, 2)  # and again
    assert put(store, [trade(7)], "history").new == 1  # the true 7
    assert put(store, [trade(2_000_000_005, seconds=9_000_000)]).new == 1
    with store.transaction() as cursor:
        assert latest_ids(cursor, ["BTCUSDT"]) == {"BTCUSDT": 2_000_000_005}


@given(highest=st.integers(0, 10**10), numbers=st.lists(st.integers(0, 10**11), min_size=1, max_size=30))
def test_climbing_ends_below_ids_without_a_neighbour(highest: int, numbers: list[int]) -> None:
    reached, unconfirmed = climb(highest, numbers)
    assert reached is not None
    assert reached >= highest
    above = sorted({number for number in numbers if number > reached})
    assert list(unconfirmed) == above
    assert all(after - before > MAX_ID_STEP for before, after in zip([reached, *above], above, strict=False))


# prices


def price(bid: str, seq: int, *, seconds: float = 0, occurrence: int = 1, source: str = "oanda", epoch: str = "e1") -> PriceRow:
    moment = format_time(START + timedelta(seconds=seconds))
    ask = str(Decimal(bid) + 1)
    return PriceRow("EUR_USD", moment, moment, bid, ask, bid, None, source, epoch, seq, occurrence)


def put_prices(store: Store, rows: Sequence[PriceRow], **options: Any) -> Inserted:
    with store.transaction() as cursor:
        return insert_prices(cursor, rows, **options)


def prices(store: Store, columns: str = "bid, occurrence, source, epoch, seq") -> list[Any]:
    with store.transaction() as cursor:
        cursor.execute(f"SELECT {columns} FROM prices ORDER BY time, bid, occurrence")  # noqa: S608
        return list(cursor.fetchall())


@few
@given(
    pieces=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 20), st.sampled_from(["live", "replay", "file"])), min_size=1, max_size=8)
)
def test_overlapping_pieces_of_prices_in_any_order_are_stored_once(store: Store, pieces: list[tuple[int, int, str]]) -> None:
    """Quotes of three per second, two of them equal; each piece has all of its times."""
    with store.transaction() as cursor:
        cursor.execute(f"TRUNCATE {TABLES}")
    wanted: set[int] = set()
    for number, (first, length, path) in enumerate(pieces):
        seconds = range(first, first + length)
        rows = [
            price(
                bid,
                10 * second + place,
                seconds=second,
                occurrence=occurrence,
                source="file:x.csv" if path == "file" else path,
                epoch=f"e{number}",
            )
            for second in seconds
            for place, (bid, occurrence) in enumerate((("1.10", 1), ("1.1" if path == "file" else "1.10", 2), ("1.2", 1)))
        ]
        inserted = put_prices(store, rows, origin="file" if path == "file" else "live", epochs={f"e{number}"})
        assert inserted == Inserted(3 * len(set(seconds) - wanted), 3 * len(set(seconds) & wanted))
        wanted |= set(seconds)
    assert len(prices(store)) == 3 * len(wanted)
    with store.transaction() as cursor:
        in_pieces = candles(cursor)
        assert sum(each[7] for each in in_pieces if each[1] == "1m") == 3 * len(wanted)


def test_first_row_stays_and_takes_over_the_position_on_the_bus(store: Store) -> None:
    put_prices(store, [price("1.10", 7, source="file:a", epoch="file:a")], origin="file")
    put_prices(store, [price("1.1", 3, epoch="old")], epochs={"new"})
    assert prices(store) == [("1.10", 1, "file:a", "file:a", 7)]
    assert put_prices(store, [price("1.1", 3, epoch="new"), price("1.100", 5, epoch="new")], epochs={"new"}) == Inserted(0, 2)
    assert prices(store) == [("1.10", 1, "file:a", "new", 5)]
    put_prices(store, [price("1.1", 4, epoch="new")], epochs={"new"})  # delivered again
    put_prices(store, [price("1.1", 7, source="file:a", epoch="file:a")], origin="file")
    assert prices(store) == [("1.10", 1, "file:a", "new", 5)]


def test_closing_price_does_not_take_the_place_of_a_tick(store: Store) -> None:
    closing = price("1.1", 1, occurrence=0, source="hourly_job")
    assert put_prices(store, [closing, price("1.1", 2)]).new == 2
    assert [row[1:3] for row in prices(store)] == [(0, "hourly_job"), (1, "oanda")]


def test_corrected_file_is_a_conflict_where_neither_contains_the_other(store: Store) -> None:
    old = [
        price(bid, seq, seconds=second, source="file:a")
        for seq, (second, bid) in enumerate([(0, "1.1"), (1, "1.1"), (2, "1.1"), (2, "1.2")])
    ]
    put_prices(store, [*old, price("1.3", 9, seconds=3, source="oanda")], origin="file")
    new = [
        price("1.10", 1, seconds=0, source="file:b"),  # equal
        price("1.15", 2, seconds=1, source="file:b"),  # another price
        price("1.2", 3, seconds=2, source="file:b"),  # one of two
        price("1.4", 4, seconds=3, source="file:b"),  # beside a live price
        price("1.5", 5, seconds=4, source="file:b"),
    ]
    outcome = put_prices(store, new, origin="file")
    assert (outcome.new, outcome.duplicates, len(outcome.conflicts)) == (2, 2, 1)
    assert str(outcome.conflicts[0]) == "EUR_USD 2025-11-18T12:00:01.000000Z: stored 1.1/2.1, given 1.15/2.15"
    both = [price("1.1", 2, seconds=1, source="file:c"), price("1.15", 3, seconds=1, source="file:c")]
    more = put_prices(store, both, origin="file")
    assert (more.new, more.duplicates) == (1, 1)  # it contains what is stored
    with store.transaction() as cursor:
        assert delete_recorded(cursor, "EUR_USD", new[0].time, new[-1].time) == 7
    assert put_prices(store, new, origin="file").new == 5
    with store.transaction() as cursor:
        after = candles(cursor)
    assert [each[7:] for each in after if each[1] == "1m"] == [(6.0, 6)]  # with the live price


def test_part_of_the_quotes_of_a_time_is_no_conflict_with_a_live_quote(store: Store) -> None:
    """The first file's quote was live, the second file has it alone."""
    live, other = price("1.1", 1, source="oanda"), price("1.2", 2, source="file:a")
    put_prices(store, [live])
    assert put_prices(store, [replace(live, source="file:a"), other], origin="file").new == 1
    part = put_prices(store, [replace(live, source="file:b")], origin="file")
    assert (part.new, part.duplicates, part.conflicts) == (0, 1, ())
    # A quote that nobody has, instead of the first file's, stays a conflict.
    outcome = put_prices(store, [replace(live, source="file:c"), price("1.3", 3, source="file:c")], origin="file")
    assert (outcome.new, [str(each) for each in outcome.conflicts]) == (
        0, ["EUR_USD 2025-11-18T12:00:00.000000Z: stored 1.2/2.2, given 1.3/2.3"],
    )  # fmt: skip


class Bounds:
    """A window of time."""

    earliest = format_time(START)
    latest = format_time(START + timedelta(seconds=60))


def test_rows_outside_the_window_are_no_latest_row(store: Store) -> None:
    put_prices(
        store, [price("1.1", 1, seconds=60), price("1.2", 2, seconds=61), replace(price("1.3", 3, seconds=-1), instrument="GBP_USD")]
    )
    with store.transaction() as cursor:
        assert latest_mids(cursor) == {"EUR_USD": "1.2", "GBP_USD": "1.3"}
        windows = {"EUR_USD": Bounds(), "GBP_USD": Bounds()}
        assert latest_mids(cursor, windows) == {"EUR_USD": "1.1"}
        assert latest_times(cursor, windows) == {"EUR_USD": Bounds.latest}
