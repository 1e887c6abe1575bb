"""The intervals of candles, and the start and end of a candle.

The SQL functions `candle_start` and `candle_end` compute the same.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

# name -> length; each is a multiple of the one before it
INTERVALS = {
    "1m": timedelta(minutes=1),
    "5m": timedelta(minutes=5),
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "4h": timedelta(hours=4),
    "1d": timedelta(days=1),
}
_NEW_YORK = ZoneInfo("America/New_York")
_FX_ORIGIN = datetime(2000, 1, 1, 17)  # noqa: DTZ001 - New York's wall clock
_ORIGIN = datetime(2000, 1, 1, tzinfo=UTC)


def candle_start(calendar: str, interval: str, moment: datetime) -> datetime:
    """Start, in UTC, of the candle of `interval` that contains `moment` (aware).

    The FX day begins at 17:00 New York and contains six 4-hour candles. All other candles are
    aligned to UTC.
    """
    width = INTERVALS[interval]
    if calendar == "fx" and interval in ("4h", "1d"):
        local = moment.astimezone(_NEW_YORK).replace(tzinfo=None)
        return (local - (local - _FX_ORIGIN) % width).replace(tzinfo=_NEW_YORK).astimezone(UTC)
    return (moment - (moment - _ORIGIN) % width).astimezone(UTC)


def candle_end(calendar: str, interval: str, start: datetime) -> datetime:
    """End, in UTC and exclusive, of the candle that begins at `start`.

    The FX day of a clock change has 23 or 25 hours.
    """
    width = INTERVALS[interval]
    if calendar == "fx" and interval in ("4h", "1d"):
        local = start.astimezone(_NEW_YORK).replace(tzinfo=None)
        return (local + width).replace(tzinfo=_NEW_YORK).astimezone(UTC)
    return (start + width).astimezone(UTC)
