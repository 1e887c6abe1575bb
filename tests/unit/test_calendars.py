"""Market calendars against exchange_calendars, a table of days, and the rule of the FX week."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import exchange_calendars
import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.calendars import HOUR, market_open, trading_hours

NEW_YORK = ZoneInfo("America/New_York")
MINUTE = timedelta(minutes=1)
FIRST, LAST = date(2000, 1, 1), date(2028, 12, 31)
DAYS = Path(__file__).parents[1] / "data" / "calendars" / "us_equity_days.csv"

moments = st.datetimes(datetime(2000, 1, 1), datetime(2029, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis wants naive bounds


@cache
def sessions() -> dict[date, tuple[datetime, datetime]]:
    """Day -> opening and closing time in UTC, as exchange_calendars has them."""
    schedule = exchange_calendars.get_calendar("XNYS", start=FIRST.isoformat(), end=LAST.isoformat()).schedule
    return {row.Index.date(): (row.open.to_pydatetime(), row.close.to_pydatetime()) for row in schedule.itertuples()}


def days(first: date = FIRST, last: date = LAST) -> Iterator[date]:
    return (first + timedelta(days=number) for number in range((last - first).days + 1))


def on_clock(text: str) -> datetime:
    """A time of New York's clock."""
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)


@cache
def sunday(year: int, month: int, number: int) -> date:
    """The first (1), second (2) or last (-1) Sunday of a month."""
    found = [day for day in days(date(year, month, 1), date(year, month, 31 if month in (3, 10) else 30)) if day.weekday() == 6]
    return found[number - 1 if number > 0 else number]


def hours_behind(moment: datetime) -> int:
    """Hours by which New York is behind UTC; they change at 2:00 on two Sundays of a year."""
    year = moment.year
    begins, ends = (sunday(year, 3, 2), sunday(year, 11, 1)) if year >= 2007 else (sunday(year, 4, 1), sunday(year, 10, -1))
    summer = datetime.combine(begins, time(7), UTC) <= moment < datetime.combine(ends, time(6), UTC)
    return 4 if summer else 5


def fx_week(moment: datetime) -> bool:
    """The rule of the FX week: Sunday 17:00 to Friday 17:00 New York."""
    local = moment - timedelta(hours=hours_behind(moment))
    since_sunday = timedelta(days=local.isoweekday() % 7, hours=local.hour, minutes=local.minute, seconds=local.second)
    return timedelta(hours=17) <= since_sunday < timedelta(days=5, hours=17)


def test_equity_opens_and_closes_at_the_minute_of_the_oracle() -> None:
    wrong = []
    for opens, closes in sessions().values():
        for minutes in range(-3, 4):
            around = opens + minutes * MINUTE, closes + minutes * MINUTE
            if (market_open("equity", around[0]), market_open("equity", around[1])) != (minutes >= 0, minutes < 0):
                wrong.append(around)
    assert len(sessions()) == 7292
    assert wrong == []


def test_equity_last_microsecond_is_open() -> None:
    for opens, closes in list(sessions().values())[::97]:
        assert not market_open("equity", opens - timedelta(microseconds=1))
        assert market_open("equity", closes - timedelta(microseconds=1))


def test_equity_day_without_a_session_is_closed() -> None:
    closed = [day for day in days() if day not in sessions()]
    assert len(closed) == 10593 - 7292
    quarters = [datetime.combine(day, time(13), UTC) + number * 15 * MINUTE for day in closed for number in range(36)]
    assert [moment for moment in quarters if market_open("equity", moment)] == []


def test_equity_days_equal_the_table() -> None:
    with DAYS.open(newline="") as file:
        table = {date.fromisoformat(row["date"]): row["closes"] for row in csv.DictReader(file)}
    assert (sum(1 for closes in table.values() if not closes), sum(1 for closes in table.values() if closes)) == (273, 63)
    for day in days():
        closes = "" if day.weekday() > 4 else table.get(day, "16:00")
        at = {clock: market_open("equity", on_clock(f"{day}T{clock}")) for clock in ("09:29", "09:30", "12:59", "13:00", "15:59", "16:00")}
        assert at == {clock: "09:30" <= clock < closes for clock in at}, day


def test_equity_hours_are_those_that_a_session_touches() -> None:
    expected = set()
    for opens, closes in sessions().values():
        hour = opens.replace(minute=0)
        while hour < closes:
            expected.add(hour)
            hour += HOUR
    found = trading_hours("equity", datetime(2000, 1, 1, tzinfo=UTC), datetime(2029, 1, 1, tzinfo=UTC))
    assert found == sorted(expected)


@pytest.mark.parametrize("year", [2000, 2006, 2007, 2021, 2025, 2028])
def test_fx_week_follows_the_clock_of_new_york(year: int) -> None:
    moment, wrong = datetime(year, 1, 1, tzinfo=UTC), []
    while moment.year == year:
        if market_open("fx", moment) != fx_week(moment):
            wrong.append(moment)
        moment += 15 * MINUTE
    assert wrong == []


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2025-03-07T21:59:59.999999+00:00", True),  # Friday, winter time
        ("2025-03-07T22:00:00+00:00", False),
        ("2025-03-09T20:59:59.999999+00:00", False),  # Sunday, summer time began at 7:00 UTC
        ("2025-03-09T21:00:00+00:00", True),
        ("2025-10-31T21:00:00+00:00", False),  # Friday, summer time
        ("2025-11-02T21:59:59.999999+00:00", False),  # Sunday, winter time again
        ("2025-11-02T22:00:00+00:00", True),
        ("2025-12-25T15:00:00+00:00", True),  # no holidays
        ("2024-12-31T23:59:59.999999+00:00", True),  # a week that spans two years
        ("2025-01-01T00:00:00+00:00", True),
        ("2022-01-01T00:00:00+00:00", False),  # a year that begins on Saturday
        ("2023-01-01T21:59:00+00:00", False),  # a year that begins on Sunday
        ("2023-01-01T22:00:00+00:00", True),
    ],
)
def test_fx_boundary(moment: str, is_open: bool) -> None:
    assert market_open("fx", datetime.fromisoformat(moment)) is is_open


@given(moments)
def test_fx_any_moment(moment: datetime) -> None:
    assert market_open("fx", moment) == fx_week(moment)


def test_fx_hours_are_those_of_the_rule() -> None:
    first, last = datetime(2004, 12, 20, tzinfo=UTC), datetime(2009, 1, 20, tzinfo=UTC)
    every = (first + number * HOUR for number in range((last - first) // HOUR))
    assert trading_hours("fx", first, last) == [hour for hour in every if fx_week(hour)]


@given(moments, st.integers(-14 * 60, 14 * 60))
def test_zone_of_the_moment_does_not_matter(moment: datetime, minutes: int) -> None:
    elsewhere = moment.astimezone(timezone(timedelta(minutes=minutes)))
    for kind in ("fx", "equity", "crypto"):
        assert market_open(kind, elsewhere) == market_open(kind, moment)


@given(moments, st.integers(0, 400), st.sampled_from(["fx", "equity", "crypto"]))
def test_hours_are_full_hours_within_the_span(start: datetime, hours: int, kind: str) -> None:
    end = start + hours * HOUR / 4
    expected = []
    hour = start.replace(minute=0, second=0, microsecond=0)
    while hour + HOUR <= end:
        if hour >= start and any(market_open(kind, hour + number * 15 * MINUTE) for number in range(4)):
            expected.append(hour)
        hour += HOUR
    found = trading_hours(kind, start, end)
    assert found == expected
    assert all(hour.tzinfo is UTC for hour in found)


def test_crypto_is_always_open() -> None:
    first, last = datetime(2023, 12, 25, tzinfo=UTC), datetime(2025, 1, 3, tzinfo=UTC)
    assert all(market_open("crypto", first + number * HOUR) for number in range(400))
    assert trading_hours("crypto", first, last) == [first + number * HOUR for number in range((last - first) // HOUR)]


def test_unknown_kind_is_an_error() -> None:
    moment = datetime(2025, 1, 1, tzinfo=UTC)
    with pytest.raises(ValueError, match="'bond'"):
        market_open("bond", moment)
    with pytest.raises(ValueError, match="'bond'"):
        trading_hours("bond", moment, moment)
