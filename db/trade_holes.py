"""SQL that finds holes in trade ids (store layer). The search orders by id; times play no part."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from db.postgres import Cursor
from db.time_window import TimeWindow

_MOMENT = timedelta(microseconds=1)  # ends are exclusive


@dataclass(frozen=True, slots=True)
class Hole:
    """Trades that are not stored, both ids included.

    `start` <= times of both neighbours < `end`.
    """

    first_id: int
    last_id: int
    start: datetime
    end: datetime

    @property
    def missing(self) -> int:
        """Number of trades."""
        return self.last_id - self.first_id + 1


@dataclass(frozen=True, slots=True)
class Position:
    """An id with its time."""

    trade_id: int
    time: datetime


@dataclass(frozen=True, slots=True)
class Search:
    """The ids of one series of one symbol. Times outside `window` count as unknown."""

    symbol: str
    series: int
    window: TimeWindow | None = None


@dataclass(frozen=True, slots=True)
class Scan:
    """Result of one statement: the holes, the position it reached, the number of its trades.

    The position is None if there were no trades.
    """

    holes: list[Hole]
    reached: Position | None
    trades: int


# A hole lies between two neighbours among the found ids and the id from which the scan begins.
# A time of a neighbour is NULL if it lies outside the window.
_SCAN = """
WITH found AS MATERIALIZED (
    SELECT trade_id, CASE WHEN time >= %(earliest)s AND time <= %(latest)s THEN time END AS time FROM raw_trades
    WHERE trade_id >= %(low)s AND trade_id <= %(high)s AND symbol = %(symbol)s AND series = %(series)s
    ORDER BY trade_id {way} LIMIT %(rows)s
), pairs AS (
    SELECT lag(trade_id) OVER ids AS before, lag(time) OVER ids AS since, trade_id, time
    FROM (SELECT * FROM found UNION ALL SELECT %(begin)s::bigint, %(begin_time)s::timestamptz) AS known
    WINDOW ids AS (ORDER BY trade_id)
)
SELECT 0, before + 1, trade_id - 1, since, time FROM pairs WHERE trade_id > before + 1
UNION ALL (SELECT 1, (SELECT count(*) FROM found), trade_id, time, NULL FROM found ORDER BY trade_id {back} LIMIT 1)
ORDER BY 1, 2
"""
_UP = _SCAN.format(way="ASC", back="DESC")
_DOWN = _SCAN.format(way="DESC", back="ASC")


def scan_up(cursor: Cursor, search: Search, begin: Position, last_id: int, rows: int) -> Scan:
    """Scan up to `rows` trades with ids above `begin`, the lowest first, up to `last_id`."""
    return _scan(cursor, _UP, search, begin, begin.trade_id + 1, last_id, rows)


def scan_down(cursor: Cursor, search: Search, begin: Position, first_id: int, rows: int) -> Scan:
    """Scan up to `rows` trades with ids below `begin`, the highest first, down to `first_id`."""
    return _scan(cursor, _DOWN, search, begin, first_id, begin.trade_id - 1, rows)


def holes_within(cursor: Cursor, search: Search, hole: Hole, rows: int) -> list[Hole]:
    """The parts of a hole that are not stored."""
    holes: list[Hole] = []
    begin = Position(hole.first_id - 1, hole.start)
    while True:
        step = scan_up(cursor, search, begin, hole.last_id, rows)
        holes += step.holes
        begin = step.reached or begin
        if step.trades < rows:
            break
    if begin.trade_id < hole.last_id:
        start = min(begin.time, hole.end - _MOMENT)
        holes.append(Hole(begin.trade_id + 1, hole.last_id, start, max(hole.end, begin.time + _MOMENT)))
    return holes


def _scan(cursor: Cursor, statement: str, search: Search, begin: Position, low: int, high: int, rows: int) -> Scan:
    window = search.window
    cursor.execute(
        statement,
        {
            "symbol": search.symbol, "series": search.series, "low": low, "high": high, "rows": rows,
            "begin": begin.trade_id, "begin_time": begin.time,
            "earliest": "-infinity" if window is None else window.earliest, "latest": "infinity" if window is None else window.latest,
        },
    )  # fmt: skip
    holes: list[Hole] = []
    reached, trades = None, 0
    for row, first, last, since, moment in cursor.fetchall():
        if row == 0:
            times = [each for each in (since, moment) if each is not None] or [begin.time]
            holes.append(Hole(first, last, min(times), max(times) + _MOMENT))
        else:
            trades, reached = first, Position(last, since or begin.time)
    return Scan(holes, reached, trades)
