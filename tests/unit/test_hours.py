"""Rows of the store as arrays on a grid: the parts without a store."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jobs.figures.hours import arrays

FRIDAY = datetime(2021, 10, 1, 18, tzinfo=UTC)
HOUR = 3600
START = int(FRIDAY.timestamp())
Row = tuple[str, int, float, float, float, float]


def row(symbol: str, start: int, close: float = 1.0) -> Row:
    return symbol, start, close, close, close, close


def test_grid_has_every_hour_with_any_candle() -> None:
    sunday = START + 51 * HOUR
    hours = arrays([row("B", START, 2.0), row("A", START, 1.0), row("A", START + HOUR, 1.5), row("B", sunday, 2.5)])
    assert hours.symbols == ("A", "B")
    assert hours.starts.tolist() == [START, START + HOUR, sunday]
    np.testing.assert_array_equal(hours.closes, [[1.0, 1.5, np.nan], [2.0, np.nan, 2.5]])
    assert hours.breaks.tolist() == [False, False, True]


def test_price_is_at_its_instrument_and_hour() -> None:
    hours = arrays([("A", START, 1.0, 4.0, 0.5, 2.0)])
    assert [part.tolist() for part in (hours.opens, hours.highs, hours.lows, hours.closes)] == [[[1.0]], [[4.0]], [[0.5]], [[2.0]]]


def test_clock_grid_has_every_hour() -> None:
    starts = np.arange(START, START + 5 * HOUR, HOUR, dtype=np.int64)
    hours = arrays([row("A", START + 2 * HOUR, 7.0)], starts)
    np.testing.assert_array_equal(hours.closes, [[np.nan, np.nan, 7.0, np.nan, np.nan]])
    assert not hours.breaks.any()


def test_arrays_without_rows_are_empty() -> None:
    hours = arrays([], np.arange(START, START + 5 * HOUR, HOUR, dtype=np.int64))
    assert hours.symbols == ()
    assert hours.closes.shape == (0, 5)


def test_last_hours_keep_the_breaks_between_them() -> None:
    hours = arrays([row("A", START + number * HOUR) for number in (0, 1, 2, 50, 51)])
    last = hours.last(3)
    assert last.starts.tolist() == [START + number * HOUR for number in (2, 50, 51)]
    assert last.breaks.tolist() == [False, True, False]
    assert hours.last(99).starts.tolist() == hours.starts.tolist()


@given(st.lists(st.tuples(st.sampled_from("ABCD"), st.integers(0, 200)), unique=True, min_size=1))
def test_arrays_contain_exactly_the_rows(keys: list[tuple[str, int]]) -> None:
    rows = [row(symbol, START + hour * HOUR, float(number + 1)) for number, (symbol, hour) in enumerate(keys)]
    hours = arrays(rows)
    shown = {
        (symbol, int(start)): hours.closes[place, column]
        for place, symbol in enumerate(hours.symbols)
        for column, start in enumerate(hours.starts)
        if not np.isnan(hours.closes[place, column])
    }
    assert shown == {each[:2]: each[5] for each in rows}
    assert (np.diff(hours.starts) >= HOUR).all()
