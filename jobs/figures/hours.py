"""Stored hourly candles as arrays, on one grid per kind of instrument."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from db.candles import candles_between
from db.instruments import Instrument
from db.postgres import Cursor

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Hours:
    """Hourly candles of some instruments: prices are (instruments, hours), float64, NaN if missing.

    `starts` are the hours' starts in Unix seconds, ascending. `breaks` is true for an hour that
    does not follow the one before it, because the market was closed.
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


def by_kind(cursor: Cursor, instruments: Sequence[Instrument], end: datetime, span: timedelta) -> dict[str, Hours]:
    """Kind -> the complete hours of its instruments that ended by `end` and began within `span`
    before it.

    The grid of a kind has an hour if any of its instruments has a candle then. So nights, weekends
    and holidays of a market are left out without a calendar. Instruments without a candle are left
    out too.
    """
    rows = candles_between(cursor, "1h", end - span, end)
    kinds = {instrument.symbol: instrument.kind for instrument in instruments}
    found: dict[str, list[tuple[Any, ...]]] = {}
    for row in rows:
        if row[0] in kinds:
            found.setdefault(kinds[row[0]], []).append(row)
    return {kind: arrays(of_kind) for kind, of_kind in found.items()}


def on_clock(cursor: Cursor, instruments: Iterable[Instrument], end: datetime, hours: int) -> Hours:
    """The last `hours` hours of the clock before `end`, whether the market was open or closed.

    Instruments without a candle are left out.
    """
    known = {instrument.symbol for instrument in instruments}
    rows = [row for row in candles_between(cursor, "1h", end - hours * HOUR, end) if row[0] in known]
    first = int((end - hours * HOUR).timestamp())
    return arrays(rows, np.arange(first, int(end.timestamp()), 3600, dtype=np.int64))


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
