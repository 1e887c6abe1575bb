"""The trading week of each kind of instrument: how many periods a year has, and which candles there should be.

| kind | trades | hours a year |
| --- | --- | --- |
| fx | Sunday 17:00 to Friday 17:00 in New York: 5 days of 24 hours | 120 × 365 / 7 |
| equity | 9:30 to 16:00 in New York on weekdays: 6.5 hours on 252 days | 6.5 × 252 |
| crypto | always | 24 × 365 |

Volatility per period becomes volatility per year by the root of the number of periods *in which prices move*: an FX year of 24 × 365 hours
would count 48 hours of every week in which nothing trades, and overstate volatility by a fifth. 252 leaves out the exchange's holidays;
FX has next to none. Holidays are not in `trading_starts`: their candles are missing, and windows over them not available.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np

from db.intervals import INTERVALS, candle_end, candle_start
from jobs.analytics.returns import Booleans

# kind -> days of trading a year, hours of trading a day
_YEAR = {"fx": (5 * 365 / 7, 24.0), "equity": (252.0, 6.5), "crypto": (365.0, 24.0)}
_NEW_YORK = ZoneInfo("America/New_York")
_FX_TURN = time(17)
_EQUITY_OPENS, _EQUITY_CLOSES = time(9, 30), time(16)
_FRIDAY, _SUNDAY = 5, 7  # ISO


def periods_per_year(kind: str, interval: str) -> float:
    """Days of trading a year × hours of trading a day / hours of the interval, and never less than one period a day.

    FX hours: 120 × 365 / 7 = 6,257; equity hours: 6.5 × 252 = 1,638 (of the candle in which trading begins at half past, half is a period);
    crypto hours: 8,760; days: 260.7, 252 and 365. Raises `KeyError` where kind or interval is unknown.
    """
    days, hours = _YEAR[kind]
    return days * max(1.0, hours * timedelta(hours=1) / INTERVALS[interval])


def trades_at(kind: str, moment: datetime) -> bool:
    """Whether instruments of the kind trade at `moment` (aware), by the trading week alone. Raises `KeyError` where the kind is unknown."""
    if kind == "crypto":
        return True
    if kind not in _YEAR:
        raise KeyError(kind)
    local = moment.astimezone(_NEW_YORK)
    day = local.isoweekday()
    if kind == "equity":
        return day <= _FRIDAY and _EQUITY_OPENS <= local.time() < _EQUITY_CLOSES
    if day == _SUNDAY:
        return local.time() >= _FX_TURN
    return day < _FRIDAY or (day == _FRIDAY and local.time() < _FX_TURN)


def trading_starts(kind: str, interval: str, start: datetime, end: datetime) -> list[datetime]:
    """Starts, in UTC, of the candles with start <= candle start < end of which any part is trading time: the rows of a grid.

    A candle that is not there on such a grid is missing; what is not on the grid is the market's pause, and no row.
    """
    starts = []
    current = candle_start(kind, interval, start)
    if current < start:
        current = candle_end(kind, interval, current)
    while current < end:
        following = candle_end(kind, interval, current)
        if trades_at(kind, current) or _opens_between(kind, current, following):
            starts.append(current)
        current = following
    return starts


def breaks(kind: str, interval: str, starts: Sequence[datetime]) -> Booleans:
    """Where a candle does not begin when the one before ends: the first after a weekend, (candles,). The first of all is no break.

    Pass it to `Candles.of`, `log_returns` or `alert_volatility` to leave out what happened while the market was closed.
    """
    return np.array([False, *(candle_end(kind, interval, one) != two for one, two in pairwise(starts))][: len(starts)], np.bool_)


def _opens_between(kind: str, start: datetime, end: datetime) -> bool:
    """Whether trading begins after `start` and before `end`."""
    if kind == "crypto":
        return False
    opens = _EQUITY_OPENS if kind == "equity" else _FX_TURN
    days = {moment.astimezone(_NEW_YORK).date() for moment in (start, end)}
    openings = [datetime.combine(day, opens, _NEW_YORK) for day in days]
    return any(start < opening < end and trades_at(kind, opening) for opening in openings)
