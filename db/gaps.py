"""SQL of `gaps` and `trade_watermarks` (store layer): missing rows, and the checked ids.

Every id from the first of a series to its highest is stored or part of a hole with a row in `gaps`,
as far as the watermark of the series reaches. The transaction that moves the watermark past a hole
inserts that row. Holes are always computed from the stored trades, never from memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from db.postgres import Cursor, scalar
from db.time_window import TimeWindow
from db.timestamps import parse_time
from db.trade_holes import Hole, Position, Scan, Search, holes_within, scan_down, scan_up
from db.trade_series import STARTED_ANEW

MAX_TRADES_PER_SCAN = 50_000  # so that one statement takes a fraction of a second
MAX_GAPS_PER_ANSWER = 1000
UNUSABLE = "the exchange's record cannot be used"  # reason, followed by the kind of the refusal

_MOMENT = timedelta(microseconds=1)  # ends are exclusive

__all__ = [
    "Advance", "Gap", "Hole", "advance_watermark", "close_candles", "count_open", "explain_open", "is_filled", "narrow", "open_gaps",
    "reopen", "report_candles", "report_unusable", "set_state",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Gap:
    """A row of `gaps` of kind `trades`."""

    id: int
    symbol: str
    hole: Hole
    detected: datetime
    reason: str | None
    series: int = 1


@dataclass(frozen=True, slots=True)
class Advance:
    """One move of a watermark: the number of holes found, and whether more trades may follow."""

    holes: int
    more: bool


@dataclass(frozen=True, slots=True)
class _Watermark:
    """The checked ids of one series, from `lowest` to `highest`.

    `first_id` to `last_id` are stored.
    """

    search: Search
    lowest: Position
    highest: Position
    first_id: int
    last_id: int
    newest: bool


def advance_watermark(
    cursor: Cursor, source: str, symbol: str, now: datetime, *, rows: int = MAX_TRADES_PER_SCAN, window: TimeWindow | None = None
) -> Advance:
    """Move the symbol's watermarks over up to `rows` stored trades; insert the holes as open gaps.

    The watermark of a series begins at its lowest stored id. It moves up to the highest, then down
    to ids that were stored later below it. Times outside `window` are not used. Holes of older
    series are unfillable, because the exchange serves the new ids only.
    """
    holes, left = 0, rows
    for mark in _watermarks(cursor, symbol, window):
        for step in _steps(cursor, mark, left):
            for hole in step.holes:
                holes += len(_insert(cursor, source, mark.search, hole, now, now, None if mark.newest else STARTED_ANEW, open_=mark.newest))
            left -= step.trades
    return Advance(holes, left <= 0)


def open_gaps(cursor: Cursor, source: str) -> list[Gap]:
    """At most `MAX_GAPS_PER_ANSWER` open gaps in trades.

    The shortest come first, so that they do not wait for a long one.
    """
    cursor.execute(
        "SELECT id, symbol, first_id, last_id, start_time, end_time, detected, reason, coalesce(series, 1) FROM gaps"
        " WHERE source = %s AND kind = 'trades' AND state = 'open' ORDER BY missing, id LIMIT %s",
        (source, MAX_GAPS_PER_ANSWER),
    )
    return [
        Gap(number, symbol, Hole(first, last, start, end), detected, reason, series)
        for number, symbol, first, last, start, end, detected, reason, series in cursor.fetchall()
    ]


def count_open(cursor: Cursor) -> dict[str, int]:
    """Source -> number of its open gaps, of both kinds."""
    cursor.execute("SELECT source, count(*) FROM gaps WHERE state = 'open' GROUP BY source")
    return dict(cursor.fetchall())


def is_filled(cursor: Cursor, gap: Gap) -> bool:
    """Return True if the gap is marked as filled."""
    cursor.execute("SELECT EXISTS (SELECT FROM gaps WHERE id = %s AND state = 'filled')", (gap.id,))
    return bool(scalar(cursor))


def narrow(
    cursor: Cursor, source: str, gap: Gap, now: datetime, *, rows: int = MAX_TRADES_PER_SCAN, window: TimeWindow | None = None
) -> list[Gap]:
    """Compare an open gap with the stored trades; returns the gaps that remain to be filled.

    The gap is marked as filled, stays unchanged, or is replaced by the holes that remain of it. In
    an older series they are unfillable, because the exchange serves the new ids only.
    """
    search = Search(gap.symbol, gap.series, window)
    known = _known(cursor, search, gap.hole, but=gap.id)
    holes = [part for hole in holes_within(cursor, search, gap.hole, rows) for part in _subtract(hole, known)]
    newest = _newest_series(cursor, gap.symbol) <= gap.series
    if newest and [(hole.first_id, hole.last_id) for hole in holes] == [(gap.hole.first_id, gap.hole.last_id)]:
        return [gap]
    if not holes:
        set_state(cursor, gap, "filled", None, now)
        return []
    cursor.execute("DELETE FROM gaps WHERE id = %s", (gap.id,))
    reason = gap.reason if newest else STARTED_ANEW
    left = [
        Gap(number, gap.symbol, part, gap.detected, reason, gap.series)
        for hole in holes
        for number, part in _insert(cursor, source, search, hole, gap.detected, now, reason, open_=newest)
    ]
    return left if newest else []


def report_unusable(cursor: Cursor, source: str, symbol: str, trades: Iterable[tuple[int, str]], kind: str, now: datetime) -> int:
    """Make the ids of records that cannot be used unfillable gaps; returns their number.

    `trades` are (id, a time near it in contract form), `kind` is the kind of the refusal. The ids
    belong to the newest series; the times are shown only. The next `narrow` of an open gap around
    an id cuts the id out.
    """
    search, reason, number = Search(symbol, _newest_series(cursor, symbol)), f"{UNUSABLE}: {kind}", 0
    for trade_id, time in trades:
        cursor.execute(
            "UPDATE gaps SET state = 'unfillable', reason = %s, updated = %s"
            " WHERE symbol = %s AND series = %s AND kind = 'trades' AND first_id = %s AND last_id = first_id AND source = %s",
            (reason, now, symbol, search.series, trade_id, source),
        )
        if not cursor.rowcount:
            moment = parse_time(time)
            _insert_row(cursor, source, search, Hole(trade_id, trade_id, moment, moment + _MOMENT), now, now, reason, open_=False)
        number += 1
    return number


def set_state(cursor: Cursor, gap: Gap, state: str, reason: str | None, now: datetime) -> None:
    """Set the state of a gap (`open`, `filled` or `unfillable`) and its reason."""
    cursor.execute("UPDATE gaps SET state = %s, reason = %s, updated = %s WHERE id = %s", (state, reason, now, gap.id))


def explain_open(cursor: Cursor, source: str, reason: str, now: datetime) -> None:
    """Set the reason of every open gap in trades."""
    cursor.execute(
        "UPDATE gaps SET reason = %s, updated = %s WHERE source = %s AND kind = 'trades' AND state = 'open'", (reason, now, source)
    )


def reopen(cursor: Cursor, source: str, now: datetime) -> int:
    """Set unfillable gaps in trades to open again; returns their number.

    Records that cannot be used stay unfillable.
    """
    cursor.execute(
        "UPDATE gaps SET state = 'open', updated = %s WHERE source = %s AND kind = 'trades' AND state = 'unfillable'"
        " AND coalesce(reason, '') NOT LIKE %s",
        (now, source, f"{UNUSABLE}%"),
    )
    return int(cursor.rowcount)


def report_candles(
    cursor: Cursor, source: str, symbol: str, interval: str, start: datetime, end: datetime, missing: int, reason: str, now: datetime
) -> None:
    """Insert a gap for the candles from `start` to `end`, which could not be fetched.

    One such row is open per symbol and interval: an earlier one is closed.
    """
    cursor.execute(
        "UPDATE gaps SET state = 'filled', reason = NULL, end_time = least(end_time, %s), updated = %s"
        " WHERE source = %s AND symbol = %s AND kind = 'candles' AND interval = %s AND state = 'open' AND start_time < %s",
        (start, now, source, symbol, interval, start),
    )
    cursor.execute(
        "INSERT INTO gaps (source, symbol, kind, interval, start_time, end_time, missing, state, reason, detected, updated)"
        " VALUES (%s, %s, 'candles', %s, %s, %s, %s, 'open', %s, %s, %s)"
        " ON CONFLICT (source, symbol, kind, interval, first_id, start_time) DO UPDATE SET end_time = excluded.end_time,"
        " missing = excluded.missing, state = excluded.state, reason = excluded.reason, updated = excluded.updated",
        (source, symbol, interval, start, end, missing, reason, now, now),
    )


def close_candles(cursor: Cursor, source: str, symbol: str, interval: str, now: datetime) -> int:
    """Mark the reported gap in candles as filled; returns 1 if there was one, else 0."""
    cursor.execute(
        "UPDATE gaps SET state = 'filled', reason = NULL, updated = %s"
        " WHERE source = %s AND symbol = %s AND kind = 'candles' AND interval = %s AND state = 'open'",
        (now, source, symbol, interval),
    )
    return int(cursor.rowcount)


def _newest_series(cursor: Cursor, symbol: str) -> int:
    cursor.execute("SELECT coalesce(max(series), 1) FROM trade_series WHERE symbol = %s", (symbol,))
    return int(scalar(cursor))


def _watermarks(cursor: Cursor, symbol: str, window: TimeWindow | None) -> list[_Watermark]:
    """The watermarks of the symbol's series, locked, the newest series first."""
    cursor.execute(
        "INSERT INTO trade_watermarks (symbol, series, first_id, trade_id, time) SELECT symbol, series, first_id, first_id, started"
        " FROM trade_series WHERE symbol = %s AND highest_id IS NOT NULL ON CONFLICT DO NOTHING",
        (symbol,),
    )
    cursor.execute(
        "SELECT w.series, w.first_id, w.trade_id, w.time, s.first_id, s.highest_id, s.series = max(s.series) OVER () FROM ("
        "  SELECT * FROM trade_watermarks WHERE symbol = %s FOR UPDATE) w"
        " JOIN trade_series s USING (symbol, series) WHERE s.highest_id IS NOT NULL ORDER BY w.series DESC",
        (symbol,),
    )
    return [
        _Watermark(Search(symbol, series, window), Position(lowest, time), Position(highest, time), first, last, newest)
        for series, lowest, highest, time, first, last, newest in cursor.fetchall()
    ]


def _steps(cursor: Cursor, mark: _Watermark, rows: int) -> Iterator[Scan]:
    """Scan up, then down, over up to `rows` trades in all, and store how far that came."""
    lowest, highest = mark.lowest, mark.highest
    if rows > 0 and highest.trade_id < mark.last_id:
        step = scan_up(cursor, mark.search, highest, mark.last_id, rows)
        highest, rows = step.reached or highest, rows - step.trades
        yield step
    if rows > 0 and lowest.trade_id > mark.first_id:
        step = scan_down(cursor, mark.search, lowest, mark.first_id, rows)
        lowest = step.reached or lowest
        yield step
    if (lowest, highest) != (mark.lowest, mark.highest):
        cursor.execute(
            "UPDATE trade_watermarks SET first_id = %s, trade_id = %s, time = %s WHERE symbol = %s AND series = %s",
            (lowest.trade_id, highest.trade_id, highest.time, mark.search.symbol, mark.search.series),
        )


def _insert(
    cursor: Cursor, source: str, search: Search, hole: Hole, detected: datetime, now: datetime, reason: str | None, *, open_: bool = True
) -> list[tuple[int, Hole]]:
    """Insert the parts of a hole that no gap has yet; returns them with the ids of their rows."""
    return [
        (_insert_row(cursor, source, search, part, detected, now, reason, open_=open_), part)
        for part in _subtract(hole, _known(cursor, search, hole))
    ]


def _known(cursor: Cursor, search: Search, hole: Hole, *, but: int = 0) -> list[tuple[int, int]]:
    """The ids (first, last) of open and unfillable gaps that overlap the hole, except gap `but`."""
    cursor.execute(
        "SELECT first_id, last_id FROM gaps WHERE symbol = %s AND series = %s AND kind = 'trades' AND state <> 'filled'"
        " AND first_id <= %s AND last_id >= %s AND id <> %s ORDER BY first_id",
        (search.symbol, search.series, hole.last_id, hole.first_id, but),
    )
    return list(cursor.fetchall())


def _subtract(hole: Hole, known: Iterable[tuple[int, int]]) -> list[Hole]:
    """The parts of a hole outside of these ranges, which are ascending."""
    parts, following = [], hole.first_id
    for first, last in known:
        if first > following:
            parts.append(replace(hole, first_id=following, last_id=min(first - 1, hole.last_id)))
        following = max(following, last + 1)
    if following <= hole.last_id:
        parts.append(replace(hole, first_id=following))
    return [part for part in parts if part.missing > 0]


def _insert_row(
    cursor: Cursor, source: str, search: Search, hole: Hole, detected: datetime, now: datetime, reason: str | None, *, open_: bool
) -> int:
    cursor.execute(
        "INSERT INTO gaps (source, symbol, kind, series, first_id, last_id, start_time, end_time, missing, state, reason, detected,"
        " updated) VALUES (%s, %s, 'trades', %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
        " ON CONFLICT (source, symbol, kind, interval, first_id, start_time) DO UPDATE SET series = excluded.series,"
        " last_id = excluded.last_id, end_time = excluded.end_time, missing = excluded.missing, state = excluded.state,"
        " reason = excluded.reason, updated = excluded.updated RETURNING id",
        (
            source, search.symbol, search.series, hole.first_id, hole.last_id, hole.start, hole.end, hole.missing,
            "open" if open_ else "unfillable", reason, detected, now,
        ),
    )  # fmt: skip
    return int(scalar(cursor))
