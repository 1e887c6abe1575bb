"""Start and end of candles. tests/integration/test_rollup.py compares them with the SQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.intervals import INTERVALS, candle_end, candle_start

MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(2199, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis requires naive bounds
CALENDARS = st.sampled_from(["fx", "crypto", "equity", ""])
NAMES = st.sampled_from(list(INTERVALS))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@given(CALENDARS, NAMES, MOMENTS)
def test_moment_is_in_its_candle(calendar: str, interval: str, moment: datetime) -> None:
    start = candle_start(calendar, interval, moment)
    assert start <= moment < candle_end(calendar, interval, start)
    assert candle_start(calendar, interval, start) == start


@given(CALENDARS, NAMES, MOMENTS)
def test_candle_ends_at_the_start_of_the_next(calendar: str, interval: str, moment: datetime) -> None:
    start = candle_start(calendar, interval, moment)
    end = candle_end(calendar, interval, start)
    assert candle_start(calendar, interval, end) == end
    assert candle_start(calendar, interval, end - timedelta(microseconds=1)) == start


@given(CALENDARS, MOMENTS)
def test_candle_consists_of_whole_finer_candles(calendar: str, moment: datetime) -> None:
    for below, interval in pairwise(INTERVALS):
        start = candle_start(calendar, interval, moment)
        end = candle_end(calendar, interval, start)
        assert candle_start(calendar, below, start) == start
        assert candle_start(calendar, below, end) == end


@given(NAMES, MOMENTS)
def test_candle_of_fx_differs_only_for_days_and_four_hours(interval: str, moment: datetime) -> None:
    of_fx, of_crypto = (candle_start(calendar, interval, moment) for calendar in ("fx", "crypto"))
    assert of_fx == of_crypto or interval in ("4h", "1d")
    assert candle_start("equity", interval, moment) == of_crypto


@pytest.mark.parametrize(
    ("moment", "start", "end"),
    [
        ("2025-01-15T21:59:59.999999", "2025-01-14T22:00", "2025-01-15T22:00"),  # 17:00 in winter
        ("2025-01-15T22:00", "2025-01-15T22:00", "2025-01-16T22:00"),
        ("2025-07-15T20:59:59.999999", "2025-07-14T21:00", "2025-07-15T21:00"),  # 17:00 in summer
        ("2025-03-09T12:00", "2025-03-08T22:00", "2025-03-09T21:00"),  # the clock is set forward: 23 hours
        ("2025-11-02T12:00", "2025-11-01T21:00", "2025-11-02T22:00"),  # and back: 25 hours
    ],
)
def test_fx_day_begins_at_17_new_york(moment: str, start: str, end: str) -> None:
    assert candle_start("fx", "1d", utc(moment)) == utc(start)
    assert candle_end("fx", "1d", utc(start)) == utc(end)


@pytest.mark.parametrize(
    ("day", "starts"),
    [
        ("2025-07-14T21:00", ["14T21:00", "15T01:00", "15T05:00", "15T09:00", "15T13:00", "15T17:00"]),
        ("2025-03-08T22:00", ["08T22:00", "09T02:00", "09T06:00", "09T09:00", "09T13:00", "09T17:00"]),
        ("2025-11-01T21:00", ["01T21:00", "02T01:00", "02T05:00", "02T10:00", "02T14:00", "02T18:00"]),
    ],
)
def test_fx_day_has_six_candles_of_four_hours(day: str, starts: list[str]) -> None:
    """The candle with a clock change has three or five hours."""
    found = [utc(day)]
    while (end := candle_end("fx", "4h", found[-1])) < candle_end("fx", "1d", utc(day)):
        found.append(end)
    assert found == [utc(day[:8] + start) for start in starts]
