"""Ranks of candles by their source, in every order of arrival, and the sources of roll-ups."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from db.candles import CandleRow, complete_candles, insert_candles, reopen_candles
from db.inserted import Inserted
from db.intervals import candle_end
from db.postgres import Store
from db.rollup import is_mine, roll_up
from db.timestamps import format_time

# from the weakest to the strongest: the table of the page "Bring your own"
SOURCES = ("synthetic", "ticks", "trades", "import:x", "oanda")
DAY = datetime(2025, 1, 14, 22, tzinfo=UTC)  # 17:00 New York
LATER = DAY + timedelta(days=30)


def candle(source: str, start: datetime = DAY, interval: str = "1m", *, price: str = "1.5", trades: int | None = None) -> CandleRow:
    end = candle_end("fx", interval, start)
    return CandleRow(
        "EUR_USD", interval, format_time(start), format_time(end), (price,) * 4, None, None, "7", trades, complete=True, source=source
    )


def put(store: Store, *rows: CandleRow, replace: bool = False) -> Inserted:
    with store.transaction() as cursor:
        return insert_candles(cursor, rows, replace=replace)


def rolled(store: Store, ended: datetime = LATER) -> None:
    with store.transaction() as cursor:
        assert is_mine(cursor)
        roll_up(cursor, 10_000, ended, ())


def stored(store: Store, columns: str, interval: str) -> list[tuple[object, ...]]:
    with store.transaction() as cursor:
        cursor.execute(f"SELECT {columns} FROM candles WHERE interval = %s ORDER BY start_time", (interval,))  # noqa: S608
        return list(cursor.fetchall())


def hours(*sources: str) -> list[CandleRow]:
    """Hourly candles from the beginning of the FX day, one of each source."""
    return [candle(source, DAY + timedelta(hours=number), "1h") for number, source in enumerate(sources)]


def test_candle_rank_has_the_values_of_the_table(store: Store) -> None:
    with store.transaction() as cursor:
        cursor.execute("SELECT source, candle_rank(source) FROM unnest(%s::text[]) AS source", ([*SOURCES, "import:a-b_c.1", "binance"],))
        found = dict(cursor.fetchall())
    assert found == {"synthetic": 0, "ticks": 1, "trades": 2, "import:x": 3, "oanda": 4, "import:a-b_c.1": 3, "binance": 4}


@pytest.mark.parametrize("in_one_batch", [True, False])
def test_highest_rank_is_stored_in_every_order_of_arrival(store: Store, in_one_batch: bool) -> None:
    """Each order of all five sources, and each order of a pair, has a minute of its own."""
    orders = [*permutations(SOURCES), *permutations(SOURCES, 2)]
    rows: list[list[CandleRow]] = [
        [candle(source, DAY + timedelta(minutes=number), trades=9 - SOURCES.index(source)) for source in order]
        for number, order in enumerate(orders)
    ]
    if in_one_batch:
        put(store, *(row for each in rows for row in each))
    else:
        for place in range(len(SOURCES)):
            put(store, *(each[place] for each in rows if place < len(each)))
    assert [source for (source,) in stored(store, "source", "1m")] == [max(order, key=SOURCES.index) for order in orders]


@pytest.mark.parametrize(
    ("parts", "source"),
    [
        (("import:x", "import:x"), "import:x"),
        (("import:x", "import:y"), "ticks"),
        (("import:x", "ticks"), "ticks"),
        (("import:x", "trades"), "trades"),
        (("import:x", "synthetic"), "ticks"),
        (("import:x", "oanda"), "ticks"),
        (("oanda", "oanda"), "oanda"),
        (("synthetic", "synthetic"), "synthetic"),
        (("synthetic", "ticks"), "ticks"),
        (("ticks", "trades"), "trades"),
    ],
)
def test_rollup_has_the_common_source_of_its_parts(store: Store, parts: Sequence[str], source: str) -> None:
    put(store, *hours(*parts))
    rolled(store)
    assert stored(store, "source", "4h") == stored(store, "source", "1d") == [(source,)]


def test_rollup_shows_its_parts_after_one_of_another_source_has_come(store: Store) -> None:
    put(store, *hours("import:x", "import:x"))
    rolled(store)
    put(store, candle("ticks", DAY + timedelta(hours=2), "1h", price="1.9"))
    rolled(store)
    assert stored(store, "source, high::text, volume::text", "4h") == [("ticks", "1.9", "21")]
    put(store, candle("import:x", DAY + timedelta(hours=2), "1h", price="1.7"))
    rolled(store)
    assert stored(store, "source, high::text, volume::text", "4h") == [("import:x", "1.7", "21")]


@pytest.mark.parametrize("source", ["import:x", "oanda"])
@pytest.mark.parametrize("day_first", [True, False])
def test_rollup_never_replaces_a_candle_of_a_file_or_feed(store: Store, source: str, day_first: bool) -> None:
    """The hours of the day are incomplete: their roll-up would be wrong."""
    day = candle(source, DAY, "1d", price="1.8")
    batches = [[day], hours("oanda", "oanda")]
    for batch in batches if day_first else batches[::-1]:
        assert put(store, *batch).conflicts == ()
        rolled(store)
    assert stored(store, "source, open::text", "1d") == [(source, "1.8")]
    assert stored(store, "source, open::text", "4h") == [("oanda", "1.5")]


def test_imported_candles_stay_complete_and_their_rollups_follow_the_clock(store: Store) -> None:
    put(store, *hours("import:x", "import:x"))
    rolled(store, DAY + timedelta(hours=2))
    assert stored(store, "complete", "4h") == [(False,)]
    with store.transaction() as cursor:
        complete_candles(cursor, format_time(DAY + timedelta(hours=4)))
    assert stored(store, "complete, source", "4h") == [(True, "import:x")]
    with store.transaction() as cursor:
        reopen_candles(cursor, format_time(DAY + timedelta(hours=1)))
    assert stored(store, "complete", "4h") == [(False,)]
    assert stored(store, "complete", "1h") == [(True,), (True,)]


@pytest.mark.parametrize("trades", [None, 7])
def test_corrected_candle_of_a_file_is_a_conflict_until_it_replaces(store: Store, trades: int | None) -> None:
    assert put(store, candle("import:x", trades=trades)) == Inserted(1)
    assert put(store, candle("import:x", trades=trades)) == Inserted(0, 1)
    corrected = candle("import:x", price="1.6", trades=trades)
    outcome = put(store, corrected)
    assert (outcome.new, len(outcome.conflicts)) == (0, 1)
    assert str(outcome.conflicts[0]).endswith("stored 1.5 1.5 1.5 1.5, given 1.6 1.6 1.6 1.6")
    assert stored(store, "open::text", "1m") == [("1.5",)]
    assert put(store, corrected, replace=True) == Inserted(1)
    assert stored(store, "open::text", "1m") == [("1.6",)]


def test_second_candle_of_one_start_in_a_file_is_a_conflict(store: Store) -> None:
    outcome = put(store, candle("import:x"), candle("import:x", price="1.6"))
    assert (outcome.new, len(outcome.conflicts)) == (1, 1)
    assert stored(store, "open::text", "1m") == [("1.5",)]


def test_candle_of_a_file_made_of_more_ticks_replaces(store: Store) -> None:
    put(store, candle("import:x", trades=5))
    assert put(store, candle("import:y", price="1.6", trades=6)) == Inserted(1)
    assert len(put(store, candle("import:x", trades=5)).conflicts) == 1
    assert stored(store, "open::text, source", "1m") == [("1.6", "import:y")]


def test_candle_of_a_file_that_loses_to_a_live_feed_is_no_conflict(store: Store) -> None:
    put(store, candle("oanda"))
    assert put(store, candle("import:x", price="1.6")) == Inserted(0, 1)
    assert put(store, candle("import:x", price="1.6"), replace=True) == Inserted(0, 1)
    assert stored(store, "open::text", "1m") == [("1.5",)]
