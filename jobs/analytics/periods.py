"""How many periods a market trades in a year: what a volatility per period is annualised by."""

from __future__ import annotations

from db.intervals import INTERVALS

_HOUR = 3600.0
# kind -> hours a year in which it trades: FX from Sunday to Friday 17:00 New York, 120 hours a week in 365.25 / 7 weeks; equities 252 days
# of 6.5 hours; crypto always.
_HOURS_PER_YEAR = {"fx": 120 * 365.25 / 7, "equity": 252 * 6.5, "crypto": 365.25 * 24}


def periods_per_year(kind: str, interval: str) -> float:
    """Candles of `interval` in a year of an instrument of that kind (`fx`, `equity`, `crypto`)."""
    return _HOURS_PER_YEAR[kind] * _HOUR / INTERVALS[interval].total_seconds()
