"""Market calendars: the moments and hours at which instruments of each calendar trade.

| calendar | open |
| --- | --- |
| fx | Sunday 17:00 to Friday 17:00 New York; no holidays |
| equity | 9:30 to 16:00 New York on trading days of its stock exchange, to 13:00 on early days |
| crypto | always |

An opening time is open, a closing time is closed. `market_sessions` describes sessions, which are
independent of these hours.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

CALENDARS = ("fx", "equity", "crypto")
HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)
_NEW_YORK = ZoneInfo("America/New_York")
_SATURDAY, _SUNDAY = 5, 6
_FX_TURN = time(17)  # FX weeks begin on Sunday and end on Friday at this time of New York
_FX_DAYS = timedelta(days=5)  # from Sunday to Friday
_OPENS, _CLOSES, _CLOSES_EARLY = time(9, 30), time(16), time(13)
_CACHED_HOURS = 16  # years of hours in memory, at most 0.5 MB each
_CACHED_YEARS = 256  # years of opening times in memory, at most 30 KB each


def market_open(calendar: str, moment: datetime) -> bool:
    """Return True if instruments of `calendar` trade at `moment` (aware).

    Raises ValueError if `calendar` is unknown.
    """
    if calendar == "crypto":
        return True
    opens, closes = _open_times(calendar, moment.astimezone(UTC).year)
    place = bisect_right(opens, moment) - 1
    return place >= 0 and moment < closes[place]


def trading_hours(calendar: str, start: datetime, end: datetime) -> list[datetime]:
    """Return the starts, in UTC and ascending, of the full UTC hours in which the market trades.

    An hour counts if the market is open at any moment of it. The first hour begins at `start` or
    later, the last hour ends at `end` or earlier; both are aware. Raises ValueError if `calendar`
    is unknown.
    """
    _check_calendar(calendar)
    first, last = start.astimezone(UTC), end.astimezone(UTC) - HOUR
    hours: list[datetime] = []
    for year in range(first.year, last.year + 1):
        of_year = _hours_of_year(calendar, year)
        hours += of_year[bisect_left(of_year, first) : bisect_right(of_year, last)]
    return hours


def _check_calendar(calendar: str) -> None:
    if calendar not in CALENDARS:
        raise ValueError(f"no market calendar is named {calendar!r}: use one of {', '.join(CALENDARS)}")


@lru_cache(maxsize=_CACHED_YEARS)
def _open_times(calendar: str, year: int) -> tuple[tuple[datetime, ...], tuple[datetime, ...]]:
    """Opening and closing times in UTC, ascending, of trading periods that touch a UTC year."""
    _check_calendar(calendar)
    # Seven days earlier: the FX week that contains 1 January may begin in the year before.
    days = _dates(date(year, 1, 1) - _WEEK, date(year, 12, 31))
    periods = tuple(_fx_weeks(days) if calendar == "fx" else _equity_days(days))
    return tuple(opens for opens, _ in periods), tuple(closes for _, closes in periods)


def _dates(first: date, last: date) -> Iterator[date]:
    while first <= last:
        yield first
        first += _DAY


def _fx_weeks(days: Iterator[date]) -> Iterator[tuple[datetime, datetime]]:
    for day in days:
        if day.weekday() == _SUNDAY:
            yield _at(day, _FX_TURN), _at(day + _FX_DAYS, _FX_TURN)


def _equity_days(days: Iterator[date]) -> Iterator[tuple[datetime, datetime]]:
    for day in days:
        closed, early = _special_days(day.year)
        if day.weekday() < _SATURDAY and day not in closed:
            yield _at(day, _OPENS), _at(day, _CLOSES_EARLY if day in early else _CLOSES)


def _at(day: date, clock: time) -> datetime:
    """A time of New York in UTC."""
    return datetime.combine(day, clock, _NEW_YORK).astimezone(UTC)


@lru_cache(maxsize=_CACHED_YEARS)
def _special_days(year: int) -> tuple[frozenset[date], frozenset[date]]:
    """Holidays and early days of the New York Stock Exchange."""
    # The package loads the holidays of every country: most commands start without it.
    from holidays.constants import HALF_DAY, PUBLIC
    from holidays.financial.ny_stock_exchange import NewYorkStockExchange

    closed = NewYorkStockExchange(years=year, expand=False, categories=(PUBLIC,))
    early = NewYorkStockExchange(years=year, expand=False, categories=(HALF_DAY,))
    return frozenset(closed), frozenset(early)


@lru_cache(maxsize=_CACHED_HOURS)
def _hours_of_year(calendar: str, year: int) -> tuple[datetime, ...]:
    """Starts of the UTC hours of one UTC year in which the market trades."""
    first, last = datetime(year, 1, 1, tzinfo=UTC), datetime(year, 12, 31, 23, tzinfo=UTC)
    if calendar == "crypto":
        return tuple(_hours(first, last + HOUR))
    opens, closes = _open_times(calendar, year)
    return tuple(
        hour for start, end in zip(opens, closes, strict=True) for hour in _hours(start.replace(minute=0), end) if first <= hour <= last
    )


def _hours(start: datetime, end: datetime) -> Iterator[datetime]:
    while start < end:
        yield start
        start += HOUR
