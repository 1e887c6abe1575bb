"""The trading week of each calendar: how many periods a year has.

| calendar | trades | hours a year |
| --- | --- | --- |
| fx | Sunday 17:00 to Friday 17:00 in New York: 5 days of 24 hours | 120 × 365 / 7 |
| equity | 9:30 to 16:00 in New York on weekdays: 6.5 hours on 252 days | 6.5 × 252 |
| crypto | always | 24 × 365 |

Volatility per period becomes volatility per year by the root of the number of periods *in which
prices move*: an FX year of 24 × 365 hours would count 48 hours of every week in which nothing
trades, and overstate volatility by a fifth. 252 leaves out the exchange's holidays; FX has next to
none.
"""

from __future__ import annotations

from datetime import timedelta

from db.intervals import INTERVALS

# calendar -> days of trading a year, hours of trading a day
_YEAR = {"fx": (5 * 365 / 7, 24.0), "equity": (252.0, 6.5), "crypto": (365.0, 24.0)}


def periods_per_year(calendar: str, interval: str) -> float:
    """Trading days a year × trading hours a day / hours of the interval, at least one period a day.

    FX hours: 120 × 365 / 7 = 6,257; equity hours: 6.5 × 252 = 1,638 (the candle in which trading
    begins at half past counts as half a period); crypto hours: 8,760; days: 260.7, 252 and 365.
    Raises `KeyError` if calendar or interval is unknown.
    """
    days, hours = _YEAR[calendar]
    return days * max(1.0, hours * timedelta(hours=1) / INTERVALS[interval])
