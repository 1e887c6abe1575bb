"""Market hours are wall-clock hours with the daylight saving of each market's zone."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest

from db.sessions import MarketSession

WEEKDAYS = (1, 2, 3, 4, 5)
SYDNEY = MarketSession("Sydney", "Australia/Sydney", time(7), time(16), WEEKDAYS)
TOKYO = MarketSession("Tokyo", "Asia/Tokyo", time(9), time(18), WEEKDAYS)
LONDON = MarketSession("London", "Europe/London", time(8), time(17), WEEKDAYS)
NEW_YORK = MarketSession("New York", "America/New_York", time(8), time(17), WEEKDAYS)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def opens(session: MarketSession, day: str) -> str:
    """Return the first UTC minute of the open session, from midnight of `day` on."""
    moment = at(day)
    while not session.is_open(moment):
        moment += timedelta(minutes=15)
    return f"{moment:%d %H:%M}"


@pytest.mark.parametrize(
    ("day", "london", "new_york"),
    [
        # In spring, New York changes its clocks three weeks before London; in autumn, a week after.
        ("2025-03-07", "07 08:00", "07 13:00"),  # both on winter time
        ("2025-03-10", "10 08:00", "10 12:00"),  # only New York on summer time
        ("2025-03-28", "28 08:00", "28 12:00"),
        ("2025-03-31", "31 07:00", "31 12:00"),  # both
        ("2025-10-24", "24 07:00", "24 12:00"),
        ("2025-10-27", "27 08:00", "27 12:00"),  # London on winter time again
        ("2025-11-03", "03 08:00", "03 13:00"),  # both
    ],
)
def test_london_and_new_york_change_their_clocks_on_different_days(day: str, london: str, new_york: str) -> None:
    assert (opens(LONDON, day), opens(NEW_YORK, day)) == (london, new_york)


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2025-01-13", "13 20:00"),  # summer there: Tuesday 07:00 is Monday 20:00 UTC
        ("2025-04-03", "03 20:00"),
        ("2025-04-07", "07 21:00"),  # winter time began on 6 April
        ("2025-10-02", "02 21:00"),
        ("2025-10-06", "06 20:00"),  # summer time began on 5 October
    ],
)
def test_sydney_changes_its_clock_in_the_opposite_direction(day: str, expected: str) -> None:
    assert opens(SYDNEY, f"{day}T12:00") == expected


@pytest.mark.parametrize("day", ["2025-01-13", "2025-04-07", "2025-07-14", "2025-10-27"])
def test_tokyo_never_changes_its_clock(day: str) -> None:
    assert opens(TOKYO, day)[3:] == "00:00"


def test_session_is_open_at_the_opening_minute_and_closed_at_the_end() -> None:
    assert [LONDON.is_open(at(f"2025-07-14T{clock}")) for clock in ("06:59:59.999999", "07:00", "15:59:59.999999", "16:00")] == [
        False, True, True, False,
    ]  # fmt: skip


def test_weekdays_are_those_of_the_market_s_zone() -> None:
    sunday_evening = at("2025-07-13T21:30")  # Monday 07:30 in Sydney
    assert SYDNEY.is_open(sunday_evening)
    assert not TOKYO.is_open(at("2025-07-12T00:30"))  # Saturday there, though Friday in New York
    assert not NEW_YORK.is_open(at("2025-07-12T15:00"))
