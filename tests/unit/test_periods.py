"""The trading week: how many periods a year has, which candles there should be, where the market paused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from db.intervals import INTERVALS, candle_end
from jobs.analytics.periods import breaks, periods_per_year, trades_at, trading_starts
from tests.fx_hours import load

YEAR = datetime(2021, 1, 1, tzinfo=UTC), datetime(2022, 1, 1, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "interval", "periods"),
    [("fx", "1h", 120 * 365 / 7), ("fx", "1d", 5 * 365 / 7), ("fx", "1m", 7200 * 365 / 7), ("equity", "1h", 1638), ("equity", "1m", 98280),
     ("equity", "1d", 252), ("crypto", "1h", 8760), ("crypto", "4h", 2190), ("crypto", "1d", 365)],
)  # fmt: skip
def test_periods_per_year(kind: str, interval: str, periods: float) -> None:
    assert periods_per_year(kind, interval) == pytest.approx(periods, rel=1e-15)


@pytest.mark.parametrize("interval", ["1h", "4h", "1d"])
@pytest.mark.parametrize("kind", ["fx", "crypto"])
def test_a_year_of_the_calendar_has_as_many_periods(kind: str, interval: str) -> None:
    assert len(trading_starts(kind, interval, *YEAR)) == pytest.approx(periods_per_year(kind, interval), rel=0.005)


def test_a_year_of_equity_minutes_has_as_many_periods_but_for_holidays() -> None:
    quarter_hours = len(trading_starts("equity", "15m", *YEAR))
    assert quarter_hours == 26 * 261
    assert periods_per_year("equity", "15m") == quarter_hours * 252 / 261


def test_the_grid_holds_exactly_the_hours_that_were_recorded() -> None:
    starts = load().starts
    assert trading_starts("fx", "1h", starts[0], starts[-1] + timedelta(hours=1)) == list(starts)


def test_breaks_are_the_weekends_of_the_recording() -> None:
    starts = load().starts
    apart = breaks("fx", "1h", starts)
    assert apart.sum() == 33
    for index in np.flatnonzero(apart):
        assert starts[index] - starts[index - 1] == timedelta(hours=49)
        assert (starts[index].isoweekday(), starts[index].hour) == (7, 21)
    assert breaks("fx", "1h", []).shape == (0,)
    assert breaks("fx", "1h", starts[:1]).tolist() == [False]
    assert not breaks("crypto", "1d", trading_starts("crypto", "1d", *YEAR)).any()


@pytest.mark.parametrize(
    ("kind", "moment", "expected"),
    [
        ("fx", "2021-07-02T20:59", True),  # a Friday; New York is four hours behind
        ("fx", "2021-07-02T21:00", False),
        ("fx", "2021-07-03T12:00", False),
        ("fx", "2021-07-04T20:59", False),
        ("fx", "2021-07-04T21:00", True),
        ("fx", "2021-01-08T21:59", True),  # five hours behind
        ("fx", "2021-01-08T22:00", False),
        ("fx", "2021-01-10T21:59", False),
        ("fx", "2021-01-10T22:00", True),
        ("equity", "2021-07-02T13:29", False),
        ("equity", "2021-07-02T13:30", True),
        ("equity", "2021-07-02T19:59", True),
        ("equity", "2021-07-02T20:00", False),
        ("equity", "2021-01-08T14:29", False),
        ("equity", "2021-01-08T14:30", True),
        ("equity", "2021-07-03T15:00", False),
        ("crypto", "2021-07-03T15:00", True),
    ],
)
def test_who_trades_when(kind: str, moment: str, expected: bool) -> None:
    assert trades_at(kind, at(moment)) is expected


def test_a_candle_in_which_trading_begins_is_on_the_grid() -> None:
    day = trading_starts("equity", "1h", at("2021-07-02T00:00"), at("2021-07-03T00:00"))
    assert [start.hour for start in day] == [13, 14, 15, 16, 17, 18, 19]
    assert trading_starts("equity", "1d", at("2021-07-01T00:00"), at("2021-07-06T00:00")) == [
        at(f"2021-07-{day:02}T00:00") for day in (1, 2, 5)
    ]
    assert [start.hour for start in trading_starts("equity", "4h", at("2021-07-02T00:00"), at("2021-07-03T00:00"))] == [12, 16]


def test_a_grid_begins_and_ends_where_it_is_asked_to() -> None:
    assert trading_starts("crypto", "1h", at("2021-07-02T00:30"), at("2021-07-02T03:00")) == [
        at("2021-07-02T01:00"),
        at("2021-07-02T02:00"),
    ]
    assert trading_starts("fx", "1h", at("2021-07-03T00:00"), at("2021-07-04T00:00")) == []
    assert trading_starts("fx", "1h", at("2021-07-04T00:00"), at("2021-07-03T00:00")) == []


@pytest.mark.parametrize("kind", ["fx", "equity", "crypto"])
@pytest.mark.parametrize("interval", ["1h", "4h", "1d"])
def test_a_candle_is_on_the_grid_exactly_if_trading_touches_it(kind: str, interval: str) -> None:
    start, end = at("2021-03-05T00:00"), at("2021-03-20T00:00")  # New York's clocks change on the 14th
    on_grid = set(trading_starts(kind, interval, start, end))
    every = set(trading_starts("crypto", interval, start, end)) if kind == "crypto" or interval in ("1h",) or kind == "equity" else on_grid
    for candle in every | on_grid:
        moments = (
            candle + timedelta(minutes=30 * step)
            for step in range(int((candle_end(kind, interval, candle) - candle) / timedelta(minutes=30)))
        )
        assert (candle in on_grid) == any(trades_at(kind, moment) for moment in moments)


def test_unknown_kinds_and_intervals_are_errors() -> None:
    for kind in ("bond", ""):
        with pytest.raises(KeyError):
            trades_at(kind, YEAR[0])
        with pytest.raises(KeyError):
            periods_per_year(kind, "1h")
    assert "2h" not in INTERVALS
    with pytest.raises(KeyError):
        periods_per_year("fx", "2h")
