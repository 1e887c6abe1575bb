"""Stored hourly candles as arrays, on one grid per calendar."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from db.calendars import trading_hours
from db.candles import candles_between
from db.instruments import Instrument, calendars_of
from db.postgres import Cursor

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Hours:
    """Hourly candles of some instruments: prices are (instruments, hours), float64, NaN if missing.

    `starts` are the hours' starts in Unix seconds, ascending. `breaks` is true for an hour that
    does not follow the one before it, because the market was closed or no candle exists.
    """

    symbols: tuple[str, ...]
    starts: NDArray[np.int64]
    opens: NDArray[np.float64]
    highs: NDArray[np.float64]
    lows: NDArray[np.float64]
    closes: NDArray[np.float64]

    @property
    def breaks(self) -> NDArray[np.bool_]:
        return np.diff(self.starts, prepend=self.starts[:1]) > HOUR.total_seconds()

    def last(self, hours: int) -> Hours:
        """The last `hours` hours only."""
        prices = (part[:, -hours:] for part in (self.opens, self.highs, self.lows, self.closes))
        return Hours(self.symbols, self.starts[-hours:], *prices)


def by_calendar(cursor: Cursor, instruments: Sequence[Instrument], end: datetime, span: timedelta) -> dict[str, Hours]:
    """Calendar -> the complete hours of its instruments that ended by `end` and began within `span`
    before it.

    The grid has the hours of the calendar. An hour in which none of its
    instruments has a candle is left out, and the step over it is a break: a holiday, or an outage
    of everything. Candles outside the calendar, and instruments without a candle in it, are left
    out.
    """
    hours = _hours_of_calendars(instruments, end - span, end)
    calendars = calendars_of(instruments)
    found: dict[str, list[tuple[Any, ...]]] = {}
    for row in _in_trading(candles_between(cursor, "1h", end - span, end), calendars, hours):
        found.setdefault(calendars[row[0]], []).append(row)
    return {calendar: arrays(rows) for calendar, rows in found.items()}


def on_clock(cursor: Cursor, instruments: Sequence[Instrument], end: datetime, hours: int) -> Hours:
    """The last `hours` hours of the clock before `end`, for instruments of all calendars.

    Candles outside the calendar of their instrument, and instruments without a candle in it, are
    left out.
    """
    start = end - hours * HOUR
    calendars = calendars_of(instruments)
    rows = _in_trading(candles_between(cursor, "1h", start, end), calendars, _hours_of_calendars(instruments, start, end))
    return arrays(list(rows), np.arange(int(start.timestamp()), int(end.timestamp()), 3600, dtype=np.int64))


def _hours_of_calendars(instruments: Iterable[Instrument], start: datetime, end: datetime) -> dict[str, frozenset[int]]:
    """Calendar -> starts, in Unix seconds, of its hours."""
    calendars = {instrument.calendar for instrument in instruments}
    return {each: frozenset(int(hour.timestamp()) for hour in trading_hours(each, start, end)) for each in calendars}


def _in_trading(
    rows: Iterable[tuple[Any, ...]], calendars: Mapping[str, str], hours: Mapping[str, Container[int]]
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of the instruments in `calendars` that lie in their calendar's hours."""
    for row in rows:
        if (calendar := calendars.get(row[0])) is not None and row[1] in hours[calendar]:
            yield row


def arrays(rows: Sequence[tuple[Any, ...]], starts: NDArray[np.int64] | None = None) -> Hours:
    """Rows of `candles_between` on the grid of these starts; by default all hours in any row."""
    symbols = tuple(sorted({row[0] for row in rows}))
    times = np.array([row[1] for row in rows], dtype=np.int64)
    grid = np.unique(times) if starts is None else starts
    place = {symbol: number for number, symbol in enumerate(symbols)}
    at_row = np.array([place[row[0]] for row in rows], dtype=np.int64)
    at_hour = np.searchsorted(grid, times)
    prices = np.full((4, len(symbols), len(grid)), np.nan)
    if rows:
        prices[:, at_row, at_hour] = np.array([row[2:6] for row in rows], dtype=np.float64).T
    return Hours(symbols, grid, *prices)
