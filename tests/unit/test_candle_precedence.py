"""Which of several candles of one identity is stored: the same one in every order of arrival."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations, permutations

import pytest

from db.candles import CandleRow, insert_candles
from db.inserted import Inserted
from db.postgres import Store
from db.timestamps import format_time

START = datetime(2025, 1, 15, tzinfo=UTC)


def candle(source: str, trades: int | None, *, complete: bool = True, price: str = "1.5", minute: int = 0) -> CandleRow:
    start = START + timedelta(minutes=minute)
    times = format_time(start), format_time(start + timedelta(minutes=1))
    return CandleRow("EUR_USD", "1m", *times, (price,) * 4, None, None, "7", trades, complete, source)


_VALUES = [
    (False, "synthetic", 9),
    (False, "ticks", 8),
    (False, "trades", 7),
    (False, "oanda", None),
    (False, "oanda", 3),
    (True, "synthetic", 9),
    (True, "ticks", 8),
    (True, "trades", 7),
    (True, "oanda", None),
    (True, "oanda", 0),
    (True, "oanda", 3),
    (True, "oanda", 4),
]
# from the weakest to the strongest, each with a price of its own
RANKED = [candle(source, trades, complete=complete, price=f"1.{place}1") for place, (complete, source, trades) in enumerate(_VALUES)]


def put(store: Store, *rows: CandleRow, again: bool = False) -> Inserted:
    with store.transaction() as cursor:
        return insert_candles(cursor, rows, replace=again)


def stored(store: Store) -> list[tuple[str, str]]:
    """(start, open) of every candle."""
    with store.transaction() as cursor:
        cursor.execute("SELECT start_time, open FROM candles ORDER BY 1")
        return [(format_time(start), price) for start, price in cursor.fetchall()]


def at_minute(row: CandleRow, minute: int) -> CandleRow:
    moved = candle(row.source, row.trades, minute=minute)
    return replace(row, start_time=moved.start_time, end_time=moved.end_time)


@pytest.mark.parametrize("in_one_batch", [True, False])
@pytest.mark.parametrize("length", [2, 3])
def test_every_order_of_arrival_stores_the_same_candle(store: Store, length: int, in_one_batch: bool) -> None:
    """Each order has a minute of its own."""
    orders: list[Sequence[CandleRow]] = []
    strongest = []
    for some in combinations(RANKED, length):
        for order in permutations(some):
            orders.append([at_minute(row, len(orders)) for row in order])
            strongest.append((orders[-1][0].start_time, some[-1].mid[0]))
    batches = (
        [[row for order in orders for row in order]] if in_one_batch else [[order[place] for order in orders] for place in range(length)]
    )
    for batch in batches:
        put(store, *batch)
    assert stored(store) == sorted(strongest)


@pytest.mark.parametrize(("first", "second"), [(4, 4), (None, None), (4, 5), (None, 0)])
def test_newer_candle_of_a_feed_with_as_many_quotes_replaces(store: Store, first: int | None, second: int | None) -> None:
    put(store, candle("oanda", first))
    assert put(store, candle("oanda", second, price="1.6")) == Inserted(1)
    assert stored(store)[0][1] == "1.6"


@pytest.mark.parametrize("source", ["ticks", "trades", "synthetic"])
def test_our_own_newer_candle_replaces_one_of_more_rows(store: Store, source: str) -> None:
    put(store, candle(source, 9))
    assert put(store, candle(source, 2, price="1.6")) == Inserted(1)
    assert stored(store)[0][1] == "1.6"


def test_losing_candle_of_a_feed_with_other_prices_is_a_conflict(store: Store) -> None:
    put(store, candle("oanda", 9))
    outcome = put(store, candle("oanda", 8, price="1.6"), candle("oanda", 9, minute=1))
    assert (outcome.new, outcome.duplicates, len(outcome.conflicts)) == (1, 0, 1)
    assert str(outcome.conflicts[0]).startswith("EUR_USD 1m candle of 2025-01-15T00:00:00.000000Z: stored 1.5 1.5 1.5 1.5, given 1.6")
    assert stored(store)[0][1] == "1.5"
    assert put(store, candle("oanda", 8, price="1.6"), again=True) == Inserted(1)
    assert stored(store)[0][1] == "1.6"


@pytest.mark.parametrize(
    "loser",
    [
        candle("oanda", 8),  # equal prices
        candle("oanda", 8, price="1.50"),
        candle("oanda", 99, complete=False, price="1.6"),  # it has not ended
        candle("ticks", 99, price="1.6"),  # not of a feed
    ],
)
def test_other_losers_are_no_conflict(store: Store, loser: CandleRow) -> None:
    put(store, candle("oanda", 9))
    assert put(store, loser) == Inserted(0, 1)
    assert stored(store)[0][1] == "1.5"


def test_older_candle_of_the_same_batch_is_no_conflict(store: Store) -> None:
    assert put(store, candle("oanda", 9), candle("oanda", 9, price="1.6")) == Inserted(1, 1)
    later = put(store, candle("oanda", 20, price="1.7"), candle("oanda", 10, price="1.8"))
    assert (later.new, len(later.conflicts)) == (1, 1)
    assert stored(store)[0][1] == "1.7"


def test_bid_and_ask_that_differ_are_a_conflict(store: Store) -> None:
    sides = replace(candle("oanda", 9), bid=("1.4",) * 4, ask=("1.6",) * 4)
    put(store, sides)
    assert put(store, candle("oanda", 8)).conflicts == ()  # unknown sides contradict nothing
    assert len(put(store, replace(sides, trades=8, ask=("1.7",) * 4)).conflicts) == 1
